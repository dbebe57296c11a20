//! Setting memory chunks aside: as chunk files, like those of a file buffer.

use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::aside::Aside;
use super::chunk::{Chunk, Source};
use super::files::Framed;
use super::format::Header;
use super::origin::Origin;
use super::shared::Shared;
use super::split::Frame;

/// Writes a chunk into the backup directory and forgets it; in a thread of its own, because the caller is async. The
/// receiver ends with it.
pub(super) fn set_aside(shared: Arc<Shared>, chunk: Arc<Chunk>, reason: String) -> oneshot::Receiver<()> {
    let (ended, done) = oneshot::channel();
    let (spare, kept) = (shared.clone(), chunk.clone());
    let work = move || {
        let result = write(&shared, &chunk, &reason);
        if shared.set_aside(&chunk, result) {
            shared.forget(&chunk);
            chunk.done.send_replace(true);
        }
        drop(ended);
    };
    if let Err(e) = std::thread::Builder::new().name("buf aside".to_owned()).spawn(work) {
        spare.set_aside(&kept, Err(e));
    }
    done
}

fn write(shared: &Shared, chunk: &Chunk, reason: &str) -> io::Result<()> {
    let Source::Memory(frames) = &chunk.source else { return Ok(()) };
    let config = &shared.config;
    let aside = Aside {
        disk: shared.env.disk.clone(),
        dir: config.backup_dir.clone(),
        file_mode: config.file_mode,
        dir_mode: config.dir_mode,
    };
    let header = Header { id: chunk.id, created: chunk.created, key: (*chunk.key).clone() };
    aside.write(&format!("{}.chunk", chunk.id), reason, |file| {
        file.append(&[&header.encode()])?;
        for frame in frames {
            let frame = Frame { crc: crc32c::crc32c(&frame.payload), ..frame.clone() };
            let framed = Framed { frame, origin: Origin::None, partial: false };
            let mut head = Vec::new();
            framed.head(0).encode(chunk.id, &mut head);
            file.append(&[&head, &framed.frame.payload])?;
        }
        Ok(())
    })
}
