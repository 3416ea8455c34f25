//! A backend's bytes, whole and cut into pieces: heads, bodies, trailers, verdict. The first byte says
//! how long the pieces are and whether HEAD was asked.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((first, stream)) = data.split_first() {
        lb_server::fuzz::cuts(stream, usize::from(first >> 1), first & 1 == 1);
    }
});
