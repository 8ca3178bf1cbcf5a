//! What the fuzz targets share: an input as a file of its own.
//!
//! Readers take paths, because they map files. A file in memory (`/dev/shm`, where there is one) costs some 20 µs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let folder = base.join(format!("regraft-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for inputs");
    folder
});

/// Calls a reader with the path of a file of that name that holds the input.
pub fn as_file<T>(name: &str, data: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    let path = FOLDER.join(name);
    std::fs::write(&path, data).expect("a file for the input");
    read(&path)
}
