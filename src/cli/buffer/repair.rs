//! `suiro buffer repair`: what a start would do, without a daemon.

use super::Failure;
use super::place::Place;
use crate::buffer::maintain;

/// Repairs every directory; gives whether all is in order now.
pub fn run(places: &[Place]) -> Result<bool, Failure> {
    for place in places {
        if !place.chunks.is_empty() {
            return Err("repair is about a whole directory; leave --chunk out".into());
        }
        if !maintain::is_buffer(&place.path) {
            // What was set aside is kept as it is.
            println!("{}: is no buffer directory, nothing to repair", place.path.display());
            continue;
        }
        let report = maintain::repair(&place.path, &place.output).map_err(|e| e.to_string())?;
        report.damage.iter().for_each(|line| println!("{line}"));
        println!(
            "{}: {} chunks with {} events, {} of them staged; {} pieces set aside",
            place.path.display(),
            report.chunks,
            report.records,
            report.staged,
            report.set_aside
        );
    }
    Ok(true)
}
