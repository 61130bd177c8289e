//! Both flavours of runtime, for the tests of what is async.

use std::path::Path;

use libgrite_ipc::AsyncClient;
use tokio::runtime::{Builder, Runtime};

use super::{Way, Work, builder_for, served_ways};

/// A runtime that runs its tasks on the thread that blocks on it.
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A runtime with threads of its own.
pub fn several_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap()
}

/// Runs `test` for each way in each flavour of runtime.
pub fn everywhere(test: impl AsyncFn(Way)) {
    for way in served_ways() {
        for runtime in [one_thread(), several_threads()] {
            runtime.block_on(test(way));
        }
    }
}

/// A client by that way.
pub async fn connect(way: Way, path: impl AsRef<Path>) -> AsyncClient<Work> {
    builder_for(way).connect_async(path).await.unwrap()
}
