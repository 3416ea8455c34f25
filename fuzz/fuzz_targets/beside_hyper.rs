//! A backend's bytes before our client and before hyper's. The first byte says whether HEAD was asked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((first, stream)) = data.split_first() {
        lb_server::fuzz::beside_hyper(stream, first & 1 == 1);
    }
});
