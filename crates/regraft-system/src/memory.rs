//! How much memory the process has used.

use std::path::Path;

/// Largest resident memory of this process so far, in bytes. `None` where the system does not tell.
///
/// Linux only: the field `VmHWM` of `/proc/self/status`.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = String::from_utf8(crate::files::read(Path::new("/proc/self/status")).ok()?).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
