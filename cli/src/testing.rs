//! Files for tests: a temporary folder of one test, and the folder of fixtures and bundles beside the checkout.

use std::path::PathBuf;

/// A folder in the system's temporary one, gone when dropped.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new folder; `name` is one that no other test uses.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("balustrade-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary folder");
        Self(path)
    }

    /// The path of a file in it, which need not be there.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("write");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A part of the shared folder beside the checkout, or where the environment says; says so where it is absent.
pub fn shared(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("BALUSTRADE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let path = root.join(part);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}
