//! Compression of entry bytes: gzip (one or many members) and zstd (one or many frames), with a limit on what comes out.

use std::io::{self, Read, Write};

/// Largest zstd window that is accepted, as a power of two: 8 MiB, the size that the format asks every decoder to take.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How entry bytes are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Packing {
    /// Not at all.
    #[default]
    Plain,
    /// gzip members, one after the other (RFC 1952).
    Gzip,
    /// zstd frames, one after the other (RFC 8878).
    Zstd,
}

/// Why packed bytes could not be unpacked.
#[derive(Debug)]
pub enum InflateError {
    /// More than the limit, in bytes, would come out.
    TooLarge(usize),
    /// Not the announced format, or cut off.
    Corrupt(io::Error),
}

impl std::fmt::Display for InflateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            InflateError::TooLarge(limit) => write!(f, "decompressed size is over the limit of {limit} bytes"),
            InflateError::Corrupt(e) => write!(f, "compressed data is damaged: {e}"),
        }
    }
}

impl std::error::Error for InflateError {}

/// Bytes that are unpacked into memory, for each packed one, before it is known whether the whole fits the limit. Logs seldom
/// shrink to less. What does is unpacked twice, the first time only to be counted, so that a bomb takes little memory.
const UNCOUNTED_RATIO: usize = 16;

/// Bounds of what is unpacked before it is counted, in bytes.
const UNCOUNTED_BYTES: std::ops::RangeInclusive<usize> = 16 * 1024..=8 * 1024 * 1024;

/// Unpacks everything in `data`; at most `limit` bytes come out, counted while inflating.
pub fn inflate(data: &[u8], packing: Packing, limit: usize) -> Result<Vec<u8>, InflateError> {
    unpack(data, |data| reader(data, packing), limit)
}

fn unpack<'d>(
    data: &'d [u8],
    open: impl Fn(&'d [u8]) -> Result<Box<dyn Read + 'd>, InflateError>,
    limit: usize,
) -> Result<Vec<u8>, InflateError> {
    let uncounted = data.len().saturating_mul(UNCOUNTED_RATIO).clamp(*UNCOUNTED_BYTES.start(), *UNCOUNTED_BYTES.end());
    let uncounted = uncounted.min(limit);
    let mut first = open(data)?;
    let mut out = Vec::with_capacity(uncounted);
    first.by_ref().take(uncounted as u64).read_to_end(&mut out).map_err(InflateError::Corrupt)?;
    let more = count_limited(first, limit - out.len(), limit)?;
    if more == 0 {
        return Ok(out);
    }
    let size = out.len() + more;
    drop(out);
    let mut out = Vec::with_capacity(size);
    open(data)?.take(limit as u64).read_to_end(&mut out).map_err(InflateError::Corrupt)?;
    Ok(out)
}

fn reader<'d>(data: &'d [u8], packing: Packing) -> Result<Box<dyn Read + 'd>, InflateError> {
    Ok(match packing {
        Packing::Plain => Box::new(data),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(data)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(data).map_err(InflateError::Corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(InflateError::Corrupt)?;
            Box::new(decoder)
        }
    })
}

/// How many bytes are still to come; more than `left` of them are over the limit.
fn count_limited(reader: Box<dyn Read + '_>, left: usize, limit: usize) -> Result<usize, InflateError> {
    let more = io::copy(&mut reader.take(left as u64 + 1), &mut io::sink()).map_err(InflateError::Corrupt)?;
    if more > left as u64 { Err(InflateError::TooLarge(limit)) } else { Ok(more as usize) }
}

/// Unpacks a zlib stream (HTTP's `deflate`, RFC 9110 section 8.4.1.2).
pub fn inflate_zlib(data: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    unpack(data, |data| Ok(Box::new(flate2::read::ZlibDecoder::new(data))), limit)
}

/// Packs bytes into one member or frame.
pub fn deflate(data: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
    match packing {
        Packing::Plain => Ok(data.to_vec()),
        Packing::Gzip => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::with_capacity(data.len() / 4), flate2::Compression::default());
            encoder.write_all(data)?;
            encoder.finish()
        }
        Packing::Zstd => zstd::stream::encode_all(data, zstd::DEFAULT_COMPRESSION_LEVEL),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn many_members_unpack_as_one() {
        for packing in [Packing::Gzip, Packing::Zstd] {
            let mut two = deflate(b"ab", packing).unwrap();
            two.extend(deflate(b"cd", packing).unwrap());
            assert_eq!(inflate(&two, packing, 4).unwrap(), b"abcd");
            assert!(matches!(inflate(&two, packing, 3), Err(InflateError::TooLarge(3))));
        }
    }

    #[test]
    fn damaged_data_is_told_from_large_data() {
        let mut gz = deflate(b"hello hello hello", Packing::Gzip).unwrap();
        gz.truncate(gz.len() - 3);
        assert!(matches!(inflate(&gz, Packing::Gzip, 100), Err(InflateError::Corrupt(_))));
        assert!(matches!(inflate(b"zz", Packing::Zstd, 100), Err(InflateError::Corrupt(_))));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = deflate(&vec![0; 50_000_000], Packing::Gzip).unwrap();
        assert!(matches!(inflate(&bomb, Packing::Gzip, 1_000_000), Err(InflateError::TooLarge(_))));
        assert!(matches!(inflate(&bomb, Packing::Gzip, 49_999_999), Err(InflateError::TooLarge(_))));
        assert_eq!(inflate(&bomb, Packing::Gzip, 50_000_000).unwrap().len(), 50_000_000);
    }
}
