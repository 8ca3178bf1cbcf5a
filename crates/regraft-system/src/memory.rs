//! How much memory a process has used, and how much there is.

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

/// Memory that can be had without swapping, in bytes. `None` where the system does not tell.
///
/// Linux only: the field `MemAvailable` of `/proc/meminfo`.
pub fn available_bytes() -> Option<u64> {
    field(Path::new("/proc/meminfo"), "MemAvailable:")
}

fn peak_in(status: &Path) -> Option<u64> {
    field(status, "VmHWM:")
}

/// Bytes of a field that is in kB.
fn field(path: &Path, name: &str) -> Option<u64> {
    let text = String::from_utf8(crate::files::read(path).ok()?).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
