//! What the kernel says of a process, beyond memory and CPU time.

use std::collections::HashSet;
use std::fs;

/// What a process holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    pub threads: usize,
    pub files: usize,
    /// Connections to the port among the files.
    pub connections: usize,
}

impl Held {
    pub fn by(pid: u32, port: u16) -> Self {
        let to_port = sockets_to(pid, port);
        let files: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
            .collect();
        Self {
            threads: fs::read_dir(format!("/proc/{pid}/task")).unwrap().count(),
            connections: files.iter().filter(|file| to_port.contains(*file)).count(),
            files: files.len(),
        }
    }

    pub fn most(self, other: Self) -> Self {
        Self {
            threads: self.threads.max(other.threads),
            files: self.files.max(other.files),
            connections: self.connections.max(other.connections),
        }
    }
}

/// The sockets that are connected to the port, as links in `/proc/PID/fd` name them.
fn sockets_to(pid: u32, port: u16) -> HashSet<String> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap();
    let remote = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|fields| fields[2].ends_with(&remote)).map(|fields| format!("socket:[{}]", fields[9])).collect()
}

/// The bytes that a process has had written to a disk so far.
pub fn written(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}
