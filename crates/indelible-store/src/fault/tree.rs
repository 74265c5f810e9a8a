//! The directories and files of a simulated disk, by path and by identity.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    content::{Content, Fate},
    directory::{Directory, Inode, MoveId, Step},
    random::Random,
};
use crate::disk::{Meta, Protection};

/// The longest simulated file in bytes (1 GiB): a wrong offset gives an error, not the end of the test's memory.
pub const MAX_FILE_LEN: u64 = 1 << 30;

const ROOT: Inode = 0;

#[derive(Clone, Debug)]
enum Node {
    File(Content),
    Directory(Directory),
}

#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    next_move: MoveId,
}

impl Tree {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]);
        Self { nodes, next_inode: ROOT + 1, next_move: 0 }
    }

    pub(super) fn content(&self, inode: Inode) -> io::Result<&Content> {
        match self.nodes.get(&inode) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn content_mut(&mut self, inode: Inode) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.find(path)?.ok_or_else(|| error(io::ErrorKind::NotFound, path))?;
        match self.nodes.get(&inode) {
            Some(Node::File(_)) => Ok(inode),
            _ => Err(error(io::ErrorKind::IsADirectory, path)),
        }
    }

    pub(super) fn meta(&self, path: &Path) -> io::Result<Option<Meta>> {
        Ok(self.find(path)?.and_then(|inode| self.nodes.get(&inode)).map(|node| match node {
            Node::File(content) => Meta { len: content.live().len() as u64, is_dir: false },
            Node::Directory(_) => Meta { len: 0, is_dir: true },
        }))
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let inode = self.directory_at(path)?;
        Ok(self.directory(inode)?.live().keys().cloned().collect())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Inode> {
        let (parent, name) = self.place(path)?;
        if self.directory(parent)?.live().contains_key(&name) {
            return Err(error(io::ErrorKind::AlreadyExists, path));
        }
        self.link(parent, name, Node::File(Content::new(Vec::new())))
    }

    pub(super) fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        match self.find(path)? {
            Some(inode) if self.directory(inode).is_ok() => Ok(()),
            Some(_) => Err(error(io::ErrorKind::AlreadyExists, path)),
            None => {
                let (parent, name) = self.place(path)?;
                self.link(parent, name, Node::Directory(Directory::default())).map(drop)
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_parent, old_name) = self.place(from)?;
        let (new_parent, new_name) = self.place(to)?;
        let inode = self.find(from)?.ok_or_else(|| error(io::ErrorKind::NotFound, from))?;
        let replaced = self.find(to)?;
        if replaced == Some(inode) {
            return Ok(());
        }
        self.check_changeable(inode, from)?;
        self.check_replaceable(inode, replaced, to)?;
        if old_parent == new_parent {
            let step = Step::Rename { from: old_name, to: new_name, inode };
            self.directory_mut(old_parent)?.take(step);
            return Ok(());
        }
        if self.directory(inode).is_ok() {
            return Err(error(io::ErrorKind::Unsupported, from));
        }
        let id = self.next_move;
        self.next_move += 1;
        self.directory_mut(new_parent)?.take(Step::MoveIn { name: new_name, inode, id });
        self.directory_mut(old_parent)?.take(Step::MoveOut { name: old_name, to: new_parent, id });
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.file(path)?;
        self.check_changeable(inode, path)?;
        self.unlink(path)
    }

    /// Removes a name, whatever protects it.
    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        self.directory_mut(parent)?.take(Step::Unlink { name });
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.directory_at(path)?;
        let count = self.directory(inode)?.unsynced();
        self.sync_steps(inode, count)
    }

    pub(super) fn fail_sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.directory_at(path)?;
        self.directory_mut(inode)?.fail_sync();
        Ok(())
    }

    /// Puts a file there, name and content durable at once, with the directories above it and all of their names.
    pub(super) fn put(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
        above.reverse();
        for dir in &above {
            self.create_directory(dir)?;
        }
        if self.find(path)?.is_none() {
            self.create_file(path)?;
        }
        for dir in &above {
            self.sync_directory(dir)?;
        }
        let inode = self.file(path)?;
        self.content_mut(inode)?.replace(bytes);
        Ok(())
    }

    /// Keeps of everything unsynced what `fate` leaves; where there is none, each file and directory draws its own.
    pub(super) fn lose_power(&mut self, fate: Option<Fate>, random: &mut Random) {
        let inodes: Vec<Inode> = self.nodes.keys().copied().collect();
        for inode in &inodes {
            let fate = fate.unwrap_or_else(|| Fate::draw(random));
            match self.nodes.get_mut(inode) {
                Some(Node::File(content)) => content.lose_power(fate, random),
                Some(Node::Directory(directory)) => {
                    let count = fate.prefix(directory.unsynced(), random);
                    // Only a directory that is not there could fail, and this one is.
                    drop(self.sync_steps(*inode, count));
                }
                None => {}
            }
        }
        for node in self.nodes.values_mut() {
            if let Node::Directory(directory) = node {
                directory.fall_back();
            }
        }
        self.forget_unreachable();
    }

    /// Drops what no name leads to. Only for a disk without open handles.
    pub(super) fn forget_unreachable(&mut self) {
        let mut reachable = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            if reachable.insert(inode)
                && let Ok(directory) = self.directory(inode)
            {
                open.extend(directory.mentioned());
            }
        }
        self.nodes.retain(|inode, _| reachable.contains(inode));
    }

    pub(super) fn live_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files(Directory::live, Content::live)
    }

    pub(super) fn durable_files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files(Directory::durable, Content::durable)
    }

    fn files(
        &self,
        names: impl Fn(&Directory) -> &BTreeMap<String, Inode>,
        bytes: impl Fn(&Content) -> &[u8],
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut open = vec![(PathBuf::new(), ROOT)];
        while let Some((path, inode)) = open.pop() {
            match self.nodes.get(&inode) {
                Some(Node::Directory(directory)) => {
                    open.extend(names(directory).iter().map(|(name, inode)| (path.join(name), *inode)));
                }
                Some(Node::File(content)) => {
                    files.insert(path, bytes(content).to_vec());
                }
                None => {}
            }
        }
        files
    }

    /// Makes the first `count` unsynced steps of a directory durable. A rename that leaves it takes the steps along that lead
    /// to its arrival, so that no power loss takes the file from both directories.
    fn sync_steps(&mut self, inode: Inode, count: usize) -> io::Result<()> {
        let mut departures = self.directory_mut(inode)?.sync(count);
        while let Some((to, id)) = departures.pop() {
            let target = self.directory_mut(to)?;
            if let Some(at) = target.arrival(id) {
                departures.extend(target.sync(at + 1));
            }
        }
        Ok(())
    }

    fn link(&mut self, parent: Inode, name: String, node: Node) -> io::Result<Inode> {
        let inode = self.next_inode;
        self.directory_mut(parent)?.take(Step::Link { name, inode });
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        Ok(inode)
    }

    /// An immutable file is neither renamed nor removed.
    fn check_changeable(&self, inode: Inode, path: &Path) -> io::Result<()> {
        match self.nodes.get(&inode) {
            Some(Node::File(content)) if content.protection() == Protection::Immutable => {
                Err(error(io::ErrorKind::PermissionDenied, path))
            }
            _ => Ok(()),
        }
    }

    fn check_replaceable(&self, inode: Inode, replaced: Option<Inode>, path: &Path) -> io::Result<()> {
        let Some(replaced) = replaced else { return Ok(()) };
        self.check_changeable(replaced, path)?;
        match (self.directory(inode), self.directory(replaced)) {
            (Err(_), Err(_)) => Ok(()),
            (Err(_), Ok(_)) => Err(error(io::ErrorKind::IsADirectory, path)),
            (Ok(_), Err(_)) => Err(error(io::ErrorKind::NotADirectory, path)),
            (Ok(_), Ok(there)) if there.live().is_empty() => Ok(()),
            (Ok(_), Ok(_)) => Err(error(io::ErrorKind::DirectoryNotEmpty, path)),
        }
    }

    fn directory(&self, inode: Inode) -> io::Result<&Directory> {
        match self.nodes.get(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, inode: Inode) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&inode) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_at(&self, path: &Path) -> io::Result<Inode> {
        let inode = self.find(path)?.ok_or_else(|| error(io::ErrorKind::NotFound, path))?;
        self.directory(inode).map_err(|problem| error(problem.kind(), path))?;
        Ok(inode)
    }

    /// The directory that `path` is in, and its name there.
    fn place(&self, path: &Path) -> io::Result<(Inode, String)> {
        let mut names = names(path)?;
        let name = names.pop().ok_or_else(|| error(io::ErrorKind::InvalidInput, path))?.to_owned();
        let parent = self.walk(&names, path)?.ok_or_else(|| error(io::ErrorKind::NotFound, path))?;
        self.directory(parent).map_err(|problem| error(problem.kind(), path))?;
        Ok((parent, name))
    }

    /// What stands at `path`; `None` where nothing does.
    fn find(&self, path: &Path) -> io::Result<Option<Inode>> {
        self.walk(&names(path)?, path)
    }

    fn walk(&self, names: &[&str], path: &Path) -> io::Result<Option<Inode>> {
        let mut at = ROOT;
        for name in names {
            let directory = self.directory(at).map_err(|problem| error(problem.kind(), path))?;
            match directory.live().get(*name) {
                Some(inode) => at = *inode,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }
}

/// The names that a path is made of, from the root.
pub(super) fn names(path: &Path) -> io::Result<Vec<&str>> {
    let named = path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    named
        .map(|part| match part {
            Component::Normal(name) => name.to_str().ok_or_else(|| error(io::ErrorKind::InvalidInput, path)),
            _ => Err(error(io::ErrorKind::InvalidInput, path)),
        })
        .collect()
}

fn error(kind: io::ErrorKind, path: &Path) -> io::Error {
    io::Error::new(kind, format!("simulated: {kind}: `{}`", path.display()))
}
