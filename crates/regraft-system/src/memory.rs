//! How much memory a process has used.

use std::path::{Path, PathBuf};

/// Largest resident memory of this process so far, in bytes. `None` where the system does not tell.
///
/// Linux only: the field `VmHWM` of `/proc/self/status`.
pub fn peak_resident_bytes() -> Option<u64> {
    peak_in(Path::new("/proc/self/status"))
}

/// As [`peak_resident_bytes`], of another process. `None` also once it has ended.
pub fn peak_resident_bytes_of(process: u32) -> Option<u64> {
    peak_in(&PathBuf::from(format!("/proc/{process}/status")))
}

fn peak_in(status: &Path) -> Option<u64> {
    let status = String::from_utf8(crate::files::read(status).ok()?).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
