//! tmp
use libgrite_ipc::IpcResponse;
use libgrite_ipc::grite::{DoctorResult, Refusal};
use std::path::Path;
pub fn answer(_: &Path, _: bool) -> Result<IpcResponse, Refusal> {
    Ok(IpcResponse::Doctor(DoctorResult { findings: Vec::new() }))
}
