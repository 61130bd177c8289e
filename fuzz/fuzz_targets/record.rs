#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| libgrite_ipc::fuzz::record(input));
