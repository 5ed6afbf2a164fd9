//! A model of the disk. A power failure keeps what was synced, and any part of what was not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::TryLockError;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

use imotriz_kafka::platform::disk::{Disk, DiskFile, Permissions};

use xxhash_rust::xxh3::Xxh3Default;

use crate::log::{self, BLOCK, Frame, Live};
use crate::random::Random;
use crate::world::{Shared, World, instance_of};

const SECTOR: usize = 512;
const BODY: usize = 4608;
const PAGE: &[u8] = b"imotriz-spool/1 page";
/// Where a segment was that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    First,
    Middle,
    Last,
    /// There was no other.
    Only,
}

const SEGMENT: &[u8] = b"imotriz-spool/2 segment";

#[derive(Default, Clone)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum Name {
    Is(PathBuf, usize),
    Moves(PathBuf, PathBuf),
    Goes(PathBuf),
}

type Names = BTreeMap<PathBuf, usize>;

#[derive(Default)]
pub struct DiskState {
    files: Vec<File>,
    names: Names,
    durable: Names,
    pending: Vec<Name>,
    /// Reads of which a page with orders was durable at some time.
    pub pages: BTreeSet<String>,
}

impl Name {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Is(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Moves(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Goes(path) => drop(names.remove(path)),
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

fn text_field<'a>(bytes: &'a [u8], name: &str) -> Option<&'a str> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    std::str::from_utf8(&bytes[..end]).ok()?.lines().find_map(|line| line.strip_prefix(name))
}

/// Whether it is a file for a read of this store.
fn is_of(bytes: &[u8], store: &str) -> bool {
    bytes.starts_with(PAGE) && text_field(bytes, "store: ") == Some(store)
}

fn holds(bytes: &[u8], needle: &str) -> bool {
    // Most of it is text, where the standard library searches fast, even for a debug build.
    std::str::from_utf8(bytes).map_or_else(
        |_| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()),
        |text| text.contains(needle),
    )
}

fn holds_orders(body: &[u8]) -> bool {
    holds(body, r#""key":"#)
}

/// Whether the order with this key is in the page.
pub fn holds_order(page: &[u8], key: &str) -> bool {
    holds(page, &format!("\"key\":\"{key}\""))
}

/// What was made durable before it was looked into may be none: HTML, or an empty page that says that it is none.
fn is_page(body: &[u8]) -> bool {
    holds_orders(body) || holds(body, r#""returned_transactions":0"#)
}

fn sealed_page(bytes: &[u8]) -> Option<(String, &[u8])> {
    let seal = bytes.get(4096..BODY)?;
    if !bytes.starts_with(PAGE) || text_field(seal, "outcome: ")? != "page" {
        return None;
    }
    let length: usize = text_field(seal, "length: ")?.parse().ok()?;
    let body = bytes.get(BODY..BODY + length)?;
    if !is_page(body) {
        return None;
    }
    // What is torn is no page.
    let text = seal.split(|byte| *byte == 0).next()?;
    let checked = text.windows(7).rposition(|window| window == b"check: ")?;
    let mut check = Xxh3Default::new();
    [&bytes[..4096], &text[..checked], body].iter().for_each(|part| check.update(part));
    let stands = u128::from_str_radix(text_field(seal, "check: ")?, 16).ok()?;
    if check.digest128() != stands {
        return None;
    }
    Some((text_field(bytes, "read: ")?.to_owned(), body))
}

impl DiskState {
    /// The names survive to some point, the bytes sector by sector or not.
    pub fn lose_power(&mut self, random: &mut Random) {
        let kept = random.below(self.pending.len() as u64 + 1) as usize;
        for name in self.pending.drain(..).take(kept) {
            name.apply(&mut self.durable);
        }
        self.names = self.durable.clone();
        for file in &mut self.files {
            for (offset, bytes) in file.pending.drain(..) {
                for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                    if random.one_in(2) {
                        write(&mut file.durable, offset + index * SECTOR, sector);
                    }
                }
            }
            file.now = file.durable.clone();
        }
    }

    /// A segment is gone, as if a person had removed it. Returns where it was in the log, and the reads of its pages.
    pub fn lose_segment(&mut self, which: u64) -> Option<(Place, Vec<String>)> {
        let number = |file: &usize| log::number(&self.files[*file].now);
        let mut segments: Vec<(u64, PathBuf)> =
            self.names.iter().filter_map(|(path, file)| Some((number(file)?, path.clone()))).collect();
        segments.sort();
        let last = segments.len().checked_sub(1)?;
        let at = [0, segments.len() / 2, last][which as usize % 3];
        let before = self.pages_now();
        let (_, path) = &segments[at];
        self.names.remove(path);
        self.durable.remove(path);
        self.pending.retain(|name| !matches!(name, Name::Is(new, _) if new == path));
        let reads: Vec<String> = before.difference(&self.pages_now()).cloned().collect();
        self.pages.retain(|read| !reads.contains(read));
        let place = match at {
            _ if last == 0 => Place::Only,
            0 => Place::First,
            _ if at == last => Place::Last,
            _ => Place::Middle,
        };
        Some((place, reads))
    }

    /// The reads whose pages, with orders, are in the log.
    fn pages_now(&self) -> BTreeSet<String> {
        let live = self.live_now().into_values().filter(|live| live.page.is_some_and(holds_orders));
        live.map(|live| live.read).collect()
    }

    /// A file that the manifest names, and that is not there.
    pub fn missing(&self) -> Option<String> {
        let manifest = self.text_now("manifest");
        let is_there = |name: &str| self.names.keys().any(|path| path.ends_with(name));
        manifest.lines().find(|name| !is_there(name)).map(str::to_owned)
    }

    /// Whether the last process ended well, as far as the next one knows.
    pub fn ended_well(&self) -> bool {
        !self.text_now("lock").contains("alive: ")
    }

    fn text_now(&self, name: &str) -> String {
        let file = self.names.iter().find(|(path, _)| path.ends_with(name));
        file.map_or_else(String::new, |(_, file)| String::from_utf8_lossy(&self.files[*file].now).into_owned())
    }

    fn durable_files(&self) -> impl Iterator<Item = &[u8]> {
        self.durable.values().map(|file| &self.files[*file].durable[..])
    }

    fn durable_text(&self, name: &str) -> String {
        let file = self.durable.iter().find(|(path, _)| path.ends_with(name));
        file.map_or_else(String::new, |(_, file)| String::from_utf8_lossy(&self.files[*file].durable).into_owned())
    }

    /// What the log says, whatever happens.
    fn live(&self) -> BTreeMap<u64, Live<'_>> {
        log::live(self.durable_files())
    }

    /// What the log says now.
    fn live_now(&self) -> BTreeMap<u64, Live<'_>> {
        log::live(self.names.values().map(|file| &self.files[*file].now[..]))
    }

    /// Whether a read is announced, durably.
    pub fn holds_an_announcement(&self, store: &str) -> bool {
        self.live().values().any(|live| live.store == store && live.is_announced)
    }

    /// Whether a read is announced, and it was not said since that it is over.
    pub fn announces_now(&self, store: &str) -> bool {
        self.live_now().values().any(|live| live.store == store && live.is_announced)
    }

    /// Whether the next process will know that this one did not end well.
    pub fn says_alive(&self) -> bool {
        self.durable_text("lock").contains("alive: ")
    }

    /// An announcement, an unknown read, a torn page, an entry on the account, or word of polls that were cut off.
    pub fn holds_a_trace(&self, store: &str) -> bool {
        let entry = format!("\"store\": \"{store}\",\n      \"reads\"");
        self.durable_text("account.json").contains(&entry)
            || self.durable_text("cut-off.json").contains(&format!("\"{store}\""))
            || self.durable_files().any(|file| is_of(file, store) && sealed_page(file).is_none())
            || self.live().values().any(|live| live.store == store && live.page.is_none_or(|page| !is_page(page)))
    }

    /// Remembers the pages with orders that no power failure takes away any more.
    fn note_pages(&mut self) {
        let files = self.durable_files().filter_map(sealed_page).filter(|(_, body)| holds_orders(body));
        let mut reads: Vec<String> = files.map(|(read, _)| read).collect();
        reads
            .extend(self.live().into_values().filter(|live| live.page.is_some_and(holds_orders)).map(|live| live.read));
        self.pages.extend(reads);
    }

    /// The pages that are on the disk whatever happens.
    pub fn pages(&self) -> impl Iterator<Item = &[u8]> {
        let files = self.durable_files().filter_map(sealed_page).map(|(_, body)| body);
        files.chain(self.live().into_values().filter_map(|live| live.page.filter(|body| is_page(body))))
    }

    /// Whether a page is still in the spool, or a read whose outcome nobody has settled.
    pub fn is_busy(&self) -> bool {
        // What was put aside stays there.
        let mut waiting = self.names.iter().filter(|(path, _)| path.parent() == Some(Path::new("/nowhere/spool")));
        waiting.any(|(path, file)| {
            path.extension().is_some_and(|suffix| suffix == "unknown") || sealed_page(&self.files[*file].now).is_some()
        }) || !self.live_now().is_empty()
    }
}

#[derive(Debug, Clone)]
pub struct ModelDisk {
    pub shared: Shared,
    pub process: u64,
}

#[derive(Debug)]
struct Open {
    disk: ModelDisk,
    file: usize,
}

fn off() -> Error {
    Error::other("no power")
}

impl ModelDisk {
    fn with<T>(&self, what: &str, path: &Path, act: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        let name = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if !self.shared.io(self.process, &format!("disk: {what} {name}")) {
            return Err(off());
        }
        let mut world = self.shared.lock();
        world.at = instance_of(self.process);
        act(&mut world)
    }

    fn fails(world: &mut World) -> Result<()> {
        if let Some(left) = world.faults.disk_fails_in.as_mut() {
            *left -= 1;
            if *left == 0 {
                world.faults.disk_fails_in = None;
                world.faults.disk_has_failed = true;
                return Err(Error::from_raw_os_error(5));
            }
        }
        Ok(())
    }
}

fn found(world: &World, path: &Path) -> Result<usize> {
    world.disk().names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
}

/// Whether a page's read brought events. Of a page that an instance had left, others may have published all orders.
fn is_published(world: &World, read: &str, body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    let keys = || text.split(r#""key":""#).skip(1).filter_map(|rest| rest.split('"').next());
    world.broker.reads.contains(read) || world.is_shared() && keys().all(|key| world.broker.has(key))
}

/// A page may go only once its orders are committed.
fn check_release(world: &mut World, file: usize) {
    let Some((read, body)) = sealed_page(&world.disk().files[file].now) else { return };
    if !holds_orders(body) {
        return;
    }
    let copies = world
        .disk()
        .names
        .values()
        .filter(|other| sealed_page(&world.disk().files[**other].now).is_some_and(|(other, _)| other == read));
    if copies.count() < 2 && !is_published(world, &read, body) {
        world.breaks(format!("the page of read {read} left the spool before its commit"));
    }
}

/// The same for pages in the log. `offset`: of the body that was written.
fn check_done(world: &mut World, file: usize, offset: usize) {
    let disk = world.disk();
    let bytes = &disk.files[file].now;
    let Some(done) = offset.checked_sub(BLOCK).and_then(|at| Frame::at(bytes, at)).map(|frame| frame.done()) else {
        return;
    };
    // As it was before.
    let others = disk.names.values().filter(|other| **other != file).map(|other| &disk.files[*other].now[..]);
    let live = log::live(others.chain([&bytes[..offset - BLOCK]]));
    let rescued: BTreeSet<String> =
        disk.names.values().filter_map(|file| Some(sealed_page(&disk.files[*file].now)?.0)).collect();
    let lost = done.iter().filter_map(|seq| live.get(seq)).find(|live| {
        let page = live.page.filter(|page| holds_orders(page));
        page.is_some_and(|page| !rescued.contains(&live.read) && !is_published(world, &live.read, page))
    });
    if let Some(read) = lost.map(|live| live.read.clone()) {
        world.breaks(format!("the page of read {read} left the spool before its commit"));
    }
}

fn name(world: &mut World, name: Name) {
    name.apply(&mut world.disk_mut().names);
    world.disk_mut().pending.push(name);
}

impl Disk for ModelDisk {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        self.with("make folder", dir, |_| Ok(()))
    }

    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.with("create", path, |world| {
            if std::mem::take(&mut world.faults.disk_full) {
                return Err(ErrorKind::StorageFull.into());
            }
            if world.disk().names.contains_key(path) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let file = world.disk().files.len();
            world.disk_mut().files.push(File::default());
            name(world, Name::Is(path.to_owned(), file));
            Ok(Box::new(Open { disk: self.clone(), file }) as Box<dyn DiskFile>)
        })
    }

    fn open(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        self.with("open", path, |world| {
            Ok(Box::new(Open { disk: self.clone(), file: found(world, path)? }) as Box<dyn DiskFile>)
        })
    }

    fn lock(&self, path: &Path) -> std::result::Result<Box<dyn DiskFile>, TryLockError> {
        let open = self.open(path).or_else(|_| self.create(path));
        open.map_err(TryLockError::Error)
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        self.with("read", path, |world| Ok(world.disk().files[found(world, path)?].now.clone()))
    }

    fn read_part(&self, path: &Path, offset: usize, length: usize) -> Result<Vec<u8>> {
        self.with("read", path, |world| {
            let bytes = &world.disk().files[found(world, path)?].now;
            bytes.get(offset..offset + length).map(<[u8]>::to_vec).ok_or_else(|| ErrorKind::UnexpectedEof.into())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.with("rename", to, |world| {
            found(world, from)?;
            name(world, Name::Moves(from.to_owned(), to.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.with("remove", path, |world| {
            let file = found(world, path)?;
            check_release(world, file);
            name(world, Name::Goes(path.to_owned()));
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.with("sync folder", dir, |world| {
            Self::fails(world)?;
            let names: Vec<Name> = world.disk_mut().pending.drain(..).collect();
            names.iter().for_each(|name| name.apply(&mut world.disk_mut().durable));
            world.disk_mut().note_pages();
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        self.with("list", dir, |world| {
            Ok(world.disk().names.keys().filter(|path| path.parent() == Some(dir)).cloned().collect())
        })
    }

    fn permissions(&self, _: &Path) -> Result<Permissions> {
        Ok(Permissions { owner: 0, mode: 0o600 })
    }

    fn size(&self, path: &Path) -> Result<u64> {
        self.with("size", path, |world| Ok(world.disk().files[found(world, path)?].now.len() as u64))
    }
}

impl DiskFile for Open {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.disk.with("write", Path::new(""), |world| {
            ModelDisk::fails(world)?;
            let file = &mut world.disk_mut().files[self.file];
            write(&mut file.now, offset as usize, bytes);
            file.pending.push((offset as usize, bytes.to_vec()));
            if file.now.starts_with(SEGMENT) && bytes.len() < BLOCK {
                check_done(world, self.file, offset as usize);
            }
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<()> {
        self.disk.with("sync", Path::new(""), |world| {
            ModelDisk::fails(world)?;
            let file = &mut world.disk_mut().files[self.file];
            file.pending.clear();
            file.durable = file.now.clone();
            world.disk_mut().note_pages();
            Ok(())
        })
    }
}
