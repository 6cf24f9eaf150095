//! A folder for a test, which is removed when the test ends.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        // Canonical, because events name the real path.
        let path = env::temp_dir().canonicalize().unwrap();
        let path = path.join(format!("witgate-reload-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A test that failed for another reason should report that one.
        let _ = fs::remove_dir_all(&self.0);
    }
}
