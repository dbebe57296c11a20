//! Setting aside: what can't be delivered or read is kept with a reason beside it, never deleted.

use std::io;
use std::path::{Path, PathBuf};

use super::env::Env;

/// Permissions of what is set aside: it holds the same data as the buffer.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Bytes copied at once.
const COPY_BLOCK: usize = 1 << 20;

/// Writes a file and its reason into the backup directory; synced when this returns. Gives the file's path.
pub fn write(env: &Env, backup: &Path, name: &str, data: &[u8], reason: &str) -> io::Result<PathBuf> {
    env.disk.create_dir(backup, DIR_MODE)?;
    let path = fresh(env, backup, name, data)?;
    finish(env, backup, &path, reason)?;
    Ok(path)
}

fn fresh(env: &Env, backup: &Path, name: &str, data: &[u8]) -> io::Result<PathBuf> {
    for n in 0u32.. {
        let path = backup.join(if n == 0 { name.to_owned() } else { format!("{name}.{n}") });
        match env.disk.create(&path, FILE_MODE) {
            Ok(file) => {
                file.write_at(data, 0)?;
                file.sync()?;
                return Ok(path);
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("no free name"))
}

fn finish(env: &Env, backup: &Path, path: &Path, reason: &str) -> io::Result<()> {
    let text = format!("{reason}\n");
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".reason");
    match env.disk.create(&backup.join(name), FILE_MODE) {
        Ok(file) => file.write_at(text.as_bytes(), 0).and_then(|()| file.sync())?,
        // A former attempt got this far.
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(e),
    }
    env.disk.sync_dir(backup)
}

/// Copies a file into the backup directory, with its reason. A copy of a former attempt is not made again.
pub fn copy(env: &Env, path: &Path, backup: &Path, reason: &str) -> io::Result<()> {
    tracing::error!("{}: {reason}; a copy is in {}", path.display(), backup.display());
    env.disk.create_dir(backup, DIR_MODE)?;
    let target = backup.join(path.file_name().unwrap_or_default());
    let source = env.disk.open(path)?;
    let file = match env.disk.create(&target, FILE_MODE) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(e),
    };
    let (mut at, mut block) = (0, vec![0; COPY_BLOCK]);
    loop {
        let got = source.read_at(&mut block, at)?;
        if got == 0 {
            break;
        }
        file.write_at(&block[..got], at)?;
        at += got as u64;
    }
    file.sync()?;
    finish(env, backup, &target, reason)
}

/// Moves a file into the backup directory, with its reason.
pub fn relocate(env: &Env, path: &Path, backup: &Path, reason: &str) -> io::Result<()> {
    tracing::error!("{}: {reason}; it is set aside in {}", path.display(), backup.display());
    env.disk.create_dir(backup, DIR_MODE)?;
    let target = backup.join(path.file_name().unwrap_or_default());
    match env.disk.rename(path, &target) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
            copy(env, path, backup, reason)?;
            env.disk.remove(path)?;
        }
        Err(e) => return Err(e),
    }
    finish(env, backup, &target, reason)?;
    path.parent().map_or(Ok(()), |dir| env.disk.sync_dir(dir))
}
