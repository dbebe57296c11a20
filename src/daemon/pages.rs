//! Pages of the program that its start needed: they are let go, so that an idle process has little resident.
//!
//! The kernel maps 16 pages of a file around each one that is used, and what reads options, configurations and certificates
//! is not used again. It takes such pages back when it needs memory; here they go before, and come again from the file where
//! they are used. With a tail and a forward output 20.0 MB were resident before and 12.2 MB are now (`grep VmRSS
//! /proc/PID/status`, some seconds after the start); that is what the `unsafe` is for. `scripts/sanitize.sh` runs the test under AddressSanitizer.

#![expect(unsafe_code, reason = "letting pages of a mapping go has no safe form")]

use std::fs;
use std::io;

use rustix::mm::{Advice, madvise};

/// A part of the address space.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    start: usize,
    end: usize,
}

/// Lets go the pages of the program's own file that are mapped and can't be written to; the bytes of the mappings.
///
/// Errors: the kernel does not tell what is mapped, or refuses.
pub(super) fn release() -> io::Result<usize> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = fs::read_to_string("/proc/self/smaps")?;
    let ranges = unchanged(&maps, &program.to_string_lossy());
    for Range { start, end } in &ranges {
        // SAFETY: the range is a whole mapping of the program's file, with its start and end as the kernel gives them. Nothing
        // may write to it, and the kernel says that none of its pages differs from the file's, so each of them has the same
        // bytes when it is read from there again; a file that runs can't be written to. Only the loader changes what may be
        // done with such a mapping, before `main`.
        unsafe { madvise(std::ptr::with_exposed_provenance_mut(*start), end - start, Advice::LinuxDontNeed)? };
    }
    Ok(ranges.iter().map(|range| range.end - range.start).sum())
}

/// Mappings of the program's file that can't be written to and of which no page was changed, from the text of `smaps`.
fn unchanged(maps: &str, program: &str) -> Vec<Range> {
    let (mut found, mut current) = (Vec::new(), None);
    for line in maps.lines() {
        if let Some((range, rights, path)) = heading(line) {
            current = (path == program && !rights.contains('w')).then_some(range);
        } else if line.strip_prefix("Anonymous:").is_some_and(|size| size.trim() == "0 kB") {
            found.extend(current.take());
        }
    }
    found
}

/// The line that begins a mapping: `start-end rights offset device inode path`.
fn heading(line: &str) -> Option<(Range, &str, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| usize::from_str_radix(text, 16).ok();
    let (rights, rest) = rest.split_once(' ')?;
    let path = rest.splitn(4, ' ').nth(3).unwrap_or_default();
    Some((Range { start: address(start)?, end: address(end)? }, rights, path.trim_start()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 42                         /usr/bin/a program
Rss:                   8 kB
Anonymous:             0 kB
3000-5000 r-xp 00002000 fe:00 42                         /usr/bin/a program
Anonymous:             0 kB
5000-6000 r--p 00004000 fe:00 42                         /usr/bin/a program
Anonymous:             4 kB
6000-7000 rw-p 00005000 fe:00 42                         /usr/bin/a program
Anonymous:             0 kB
7000-8000 r-xp 00000000 fe:00 43                         /usr/lib/libc.so.6
Anonymous:             0 kB
8000-9000 rw-p 00000000 00:00 0 
Anonymous:             0 kB
9000-a000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
";

    #[test]
    fn what_is_the_files_alone_is_found() {
        let found = unchanged(MAPS, "/usr/bin/a program");
        assert_eq!(found, [Range { start: 0x1000, end: 0x3000 }, Range { start: 0x3000, end: 0x5000 }]);
        assert_eq!(unchanged(MAPS, "/usr/bin/other"), []);
    }

    #[test]
    fn the_program_goes_on_without_its_pages() {
        static TEXT: &str = "a text that is in the file";
        let numbers: Vec<u64> = (0..1_000).collect();
        for _ in 0..10 {
            assert!(release().unwrap() > 0);
            assert_eq!(numbers.iter().sum::<u64>(), 499_500);
            assert_eq!(TEXT.to_uppercase(), "A TEXT THAT IS IN THE FILE");
        }
    }
}
