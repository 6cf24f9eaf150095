//! A temporary plugin folder with copies of the given files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ids::ExchangeId;

/// Removed when it is dropped.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn with(plugins: &[PathBuf]) -> io::Result<Self> {
        // An id that cannot be guessed: no one else can have made the folder.
        let name = format!("witgate-kit-{}", ExchangeId::new());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir(&folder.0)?;
        for plugin in plugins {
            let copy = folder.0.join(plugin.file_name().unwrap_or_default());
            if copy.exists() {
                let what = format!("`{}` has the name of another plugin", plugin.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
            }
            fs::copy(plugin, copy)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays is in the way of nothing.
        let _ = fs::remove_dir_all(&self.0);
    }
}
