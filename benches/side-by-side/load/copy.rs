//! The least that it takes to turn lines into JSON lines on the disk: one loop, one thread, nothing kept, nothing promised. What
//! a collector needs beside it is what collecting costs.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::{Options, Outcome};

/// Bytes read and written at once.
const BLOCK: usize = 256 << 10;
/// Bytes between two syncs, where nothing else is asked for: what a collector with chunks of 8 MiB has.
const SYNC: u64 = 8 << 20;

pub fn run(options: &Options) -> Outcome {
    let began = Instant::now();
    let mut input = File::open(options.text("file")?)?;
    let mut out = File::create(options.text("out")?)?;
    let sync = options.number_or("sync", SYNC)?;
    let (mut block, mut held) = (vec![0; BLOCK], 0);
    let mut text = Vec::with_capacity(2 * BLOCK);
    let (mut lines, mut unsynced) = (0_u64, 0);
    loop {
        let got = input.read(&mut block[held..])?;
        let whole = memchr::memrchr(b'\n', &block[..held + got]).map_or(0, |at| at + 1);
        if got == 0 {
            break;
        }
        if whole == 0 {
            return Err(format!("a line has more than {BLOCK} bytes").into());
        }
        text.clear();
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &block[..whole]) {
            lines += 1;
            text.extend_from_slice(b"{\"message\":\"");
            quoted(&block[start..end], &mut text);
            text.extend_from_slice(b"\"}\n");
            start = end + 1;
        }
        out.write_all(&text)?;
        unsynced += text.len() as u64;
        if unsynced >= sync {
            out.sync_data()?;
            unsynced = 0;
        }
        block.copy_within(whole..held + got, 0);
        held = held + got - whole;
    }
    out.sync_data()?;
    let taken = began.elapsed();
    // Whoever measures the processor time looks at a process that is there.
    let stay = Duration::from_secs(options.number_or("stay", 0)?);
    std::thread::sleep(stay.saturating_sub(began.elapsed()));
    Ok(format!("{{\"lines\":{lines},\"seconds\":{:.3}}}", taken.as_secs_f64()))
}

/// Text without control characters, as an access log has it.
fn quoted(mut line: &[u8], text: &mut Vec<u8>) {
    while let Some(at) = memchr::memchr2(b'"', b'\\', line) {
        text.extend_from_slice(&line[..at]);
        text.extend_from_slice(&[b'\\', line[at]]);
        line = &line[at + 1..];
    }
    text.extend_from_slice(line);
}
