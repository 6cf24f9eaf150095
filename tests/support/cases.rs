//! The cases of the dialects, in `tests/cases`.

use std::{fs, path::Path};

use super::{
    case::{self, Case, FILES},
    component::root,
};

/// Every case of every dialect, in order.
pub fn all() -> Vec<Case> {
    let dialects = case::folders(&root().join("tests/cases")).unwrap();
    let cases = dialects
        .into_iter()
        .map(|dialect| case::all(&dialect).unwrap());
    cases.flatten().collect()
}

/// The dialect: `openai` for a case in `dialect-openai`.
pub fn dialect(case: &Case) -> &str {
    let folder = case.folder.parent().and_then(|folder| folder.file_name());
    let folder = folder.and_then(|folder| folder.to_str()).unwrap();
    let dialect = folder.strip_prefix("dialect-");
    dialect.unwrap_or_else(|| panic!("`{folder}` is not named after a dialect"))
}

/// Writes the case into this folder, including everything that it takes from the defaults.
pub fn expand(case: &Case, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for file in FILES.iter().filter(|file| !file.contains(".merge.")) {
        if *file == "sent.txt" && !case.asks() {
            continue;
        }
        if let Some(text) = case.text(file).unwrap() {
            fs::write(folder.join(file), text).unwrap();
        }
    }
}
