//! The folder of a store: its description, and its log and pages, created and opened together.
//!
//! In: the path of a folder. Out: the page store and the log in it, locked against other processes.
//! Not here: what they hold. The description is the text file `STORE`.

#[cfg(test)]
mod tests;

use super::error::DiskError;
use super::files::{Files, Folder, LOCK, ReadMethod, sync_folder};
use super::log::{Log, LogOpened, LogOptions};
use super::pages::{FilePages, PageStore, RedbPages};
use super::sum::{StoreId, extend};
use alloy_primitives::{B256, hex};
use std::path::Path;
use std::sync::Arc;

/// Name of the description.
const DESCRIPTION: &str = "STORE";
/// First line of a description.
const TITLE: &str = "balustrade store";
/// Version of the format of all files.
const FORMAT: u32 = 1;

/// Which page store a folder has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PagesKind {
    /// Files of our own: [`FilePages`].
    #[default]
    Files,
    /// An embedded database: [`RedbPages`].
    Redb,
}

impl PagesKind {
    const ALL: [Self; 2] = [Self::Files, Self::Redb];

    /// The name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Redb => "redb",
        }
    }
}

/// What does not change as long as a store exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// The page store.
    pub pages: PagesKind,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Hash of the genesis block.
    pub genesis: B256,
    /// The store's name.
    pub id: StoreId,
}

/// How a store is opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenOptions {
    /// How batches of pages are read.
    pub reads: ReadMethod,
    /// Memory in bytes for the pages of [`PagesKind::Redb`].
    pub cache_bytes: usize,
    /// The log.
    pub log: LogOptions,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { reads: ReadMethod::default(), cache_bytes: 256 << 20, log: LogOptions::default() }
    }
}

/// An open store.
#[derive(Debug)]
pub struct Store {
    /// What does not change.
    pub description: Description,
    /// Pages, units and codes.
    pub pages: Box<dyn PageStore>,
    /// The log.
    pub log: Log,
}

impl Description {
    /// Describes a new store, with a random name.
    ///
    /// # Errors
    /// [`DiskError::Io`] if the operating system gives no random bytes.
    pub fn new(pages: PagesKind, page_bytes: u32, chain_id: u64, genesis: B256) -> Result<Self, DiskError> {
        let mut id = [0; 16];
        let fail = |error: getrandom::Error| {
            DiskError::io("get random bytes for", DESCRIPTION, &std::io::Error::other(error.to_string()))
        };
        getrandom::fill(&mut id).map_err(fail)?;
        Ok(Self { pages, page_bytes, chain_id, genesis, id: StoreId(id) })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{TITLE}\nformat {FORMAT}\npages {}\npage bytes {}\nchain id {}\ngenesis {}\nname {}\n",
            self.pages.name(),
            self.page_bytes,
            self.chain_id,
            self.genesis,
            hex::encode(self.id.0),
        );
        let sum = extend(0, text.as_bytes());
        text += &format!("sum {sum:08x}\n");
        text
    }

    /// Reads a description. `path` is the folder's, for errors.
    fn parse(text: &str, path: &Path) -> Result<Self, DiskError> {
        let no_store = |reason: &str| DiskError::NoStore { path: path.display().to_string(), reason: reason.into() };
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(no_store("the file STORE in it is no description of a store"));
        }
        let mut value = |name: &str| {
            let line = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or_else(|| no_store(&format!("the file STORE in it has no line `{name}` in its place")))
        };
        let format = value("format")?;
        if format != FORMAT.to_string() {
            let path = path.display().to_string();
            return Err(DiskError::Format { path, found: format.into(), supported: FORMAT });
        }
        let bad = |name: &str| no_store(&format!("the file STORE in it has a bad line `{name}`"));
        let pages = value("pages")?;
        let pages = PagesKind::ALL.into_iter().find(|kind| kind.name() == pages).ok_or_else(|| bad("pages"))?;
        let page_bytes = value("page bytes")?.parse().map_err(|_| bad("page bytes"))?;
        let chain_id = value("chain id")?.parse().map_err(|_| bad("chain id"))?;
        let genesis = value("genesis")?.parse().map_err(|_| bad("genesis"))?;
        let id = hex::FromHex::from_hex(value("name")?).map_err(|_| bad("name"))?;
        let description = Self { pages, page_bytes, chain_id, genesis, id: StoreId(id) };
        // The text is compared as a whole, so its checksum, too, and any other change.
        if description.text() == text { Ok(description) } else { Err(no_store("the file STORE in it was changed")) }
    }
}

impl Store {
    /// Creates an empty store, and opens it. The folder appears, complete, under its name; an interrupted creation
    /// leaves a folder with `.new` behind the name, which the next creation removes.
    ///
    /// # Errors
    /// [`DiskError::Exists`] if the folder exists and is not empty; [`DiskError::InUse`] if another process is creating
    /// it; [`DiskError::Io`].
    pub fn create(path: &Path, description: Description, options: &OpenOptions) -> Result<Self, DiskError> {
        let fail = |action, path: &Path| {
            let path = path.display().to_string();
            move |error: std::io::Error| DiskError::io(action, path, &error)
        };
        let is_occupied = match path.read_dir() {
            Ok(mut entries) => entries.next().is_some(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(fail("list", path)(error)),
        };
        if is_occupied {
            return Err(DiskError::Exists(path.display().to_string()));
        }
        let Some(name) = path.file_name() else {
            return Err(fail("create", path)(std::io::ErrorKind::InvalidInput.into()));
        };
        let mut name = name.to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        std::fs::create_dir_all(&temporary).map_err(fail("create", &temporary))?;
        // Only an interrupted creation has made the lock.
        let is_ours = temporary.join(LOCK).exists();
        let folder = Folder::open(&temporary, options.reads)?;
        for name in folder.list()?.iter().filter(|name| *name != LOCK) {
            if !is_ours {
                return Err(DiskError::Exists(temporary.display().to_string()));
            }
            folder.remove(name)?;
        }
        let text = description.text();
        let file = folder.create(DESCRIPTION)?;
        file.write_at(0, text.as_bytes())?;
        file.sync()?;
        drop(Self::create_in(Arc::new(folder), description, options)?);
        std::fs::rename(&temporary, path).map_err(fail("rename", &temporary))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_folder(parent).map_err(fail("sync", parent))?;
        Self::open(path, options).map(|(store, _)| store)
    }

    /// Creates the files of an empty store, except for its description, and opens them.
    ///
    /// # Errors
    /// [`DiskError`]s of the parts.
    pub fn create_in(
        files: Arc<dyn Files>,
        description: Description,
        options: &OpenOptions,
    ) -> Result<Self, DiskError> {
        let Description { page_bytes, id, .. } = description;
        let pages: Box<dyn PageStore> = match description.pages {
            PagesKind::Files => Box::new(FilePages::create(Arc::clone(&files), id, page_bytes as usize)?),
            PagesKind::Redb => Box::new(RedbPages::create(&*files, id, page_bytes as usize, options.cache_bytes)?),
        };
        let log = Log::create(files, id, options.log, 1)?;
        Ok(Self { description, pages, log })
    }

    /// The description of the store in a folder.
    ///
    /// # Errors
    /// [`DiskError::NoStore`], [`DiskError::Format`], [`DiskError::Io`].
    pub fn describe(path: &Path) -> Result<Description, DiskError> {
        let file = path.join(DESCRIPTION);
        let bytes = std::fs::read(&file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                DiskError::NoStore { path: path.display().to_string(), reason: "it has no file STORE".into() }
            }
            _ => DiskError::io("read", file.display().to_string(), &error),
        })?;
        Description::parse(&String::from_utf8_lossy(&bytes), path)
    }

    /// Opens the store in a folder: its pages at the last complete checkpoint, and its log, checked from the record
    /// after that checkpoint on. The caller applies these records ([`Log::records`]).
    ///
    /// # Errors
    /// [`DiskError::InUse`] if another process has opened it; [`DiskError`]s of the parts.
    pub fn open(path: &Path, options: &OpenOptions) -> Result<(Self, LogOpened), DiskError> {
        let description = Self::describe(path)?;
        Self::open_in(Arc::new(Folder::open(path, options.reads)?), description, options)
    }

    /// Opens the store in a folder of files, as [`Self::open`] does.
    ///
    /// # Errors
    /// [`DiskError`]s of the parts.
    pub fn open_in(
        files: Arc<dyn Files>,
        description: Description,
        options: &OpenOptions,
    ) -> Result<(Self, LogOpened), DiskError> {
        let Description { page_bytes, id, .. } = description;
        let pages: Box<dyn PageStore> = match description.pages {
            PagesKind::Files => Box::new(FilePages::open(Arc::clone(&files), id, page_bytes as usize)?),
            PagesKind::Redb => Box::new(RedbPages::open(&*files, id, page_bytes as usize, options.cache_bytes)?),
        };
        let record = pages.head()?.map_or(0, |(head, _)| head.record);
        let (log, opened) = Log::open(files, id, options.log, record.saturating_add(1))?;
        Ok((Self { description, pages, log }, opened))
    }
}
