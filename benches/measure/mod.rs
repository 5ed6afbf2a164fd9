//! Measurement helpers of all benchmarks.

use std::fs;
use std::thread;
use std::time::Duration;

/// A spool on a disk: the folder for temporary files may be in memory, and nothing is as fast as a sync to that.
pub fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// What the kernel says of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub resident_mb: f64,
    pub peak_mb: f64,
    pub cpu: Duration,
}

impl Usage {
    /// `None` once it has ended.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches(':').trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        let [user, system] = cpu_times(&pid.to_string())?;
        Some(Self { resident_mb: megabytes("VmRSS")?, peak_mb: megabytes("VmHWM")?, cpu: user + system })
    }
}

/// CPU time that this process has spent in user space.
#[allow(dead_code, reason = "only one of the benchmarks measures itself")]
pub fn user_time() -> Duration {
    cpu_times("self").unwrap()[0]
}

/// User and system time of all threads of a process.
fn cpu_times(pid: &str) -> Option<[Duration; 2]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything, they are the 12th and the 13th field.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // A tick is a hundredth of a second, whatever the kernel's own clock does.
    let ticks = |at: usize| Some(Duration::from_millis(fields.get(at)?.parse::<u64>().ok()? * 10));
    Some([ticks(11)?, ticks(12)?])
}

/// An HTTP client as the program has it, for loops that do nothing but read.
pub fn bare_client() -> reqwest::Client {
    let client = reqwest::Client::builder()
        .http1_only()
        .tcp_nodelay(true)
        .retry(reqwest::retry::never())
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .no_proxy();
    client.build().unwrap()
}

/// What the figures are from.
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let memory = read("/proc/meminfo");
    let memory = memory.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default();
    format!(
        "{} cores ({}), {:.0} GiB of memory, Linux {}; load before the start: {}.",
        thread::available_parallelism().unwrap(),
        model.map_or("unknown", |(_, model)| model),
        memory / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim(),
        read("/proc/loadavg").split_whitespace().next().unwrap_or_default(),
    )
}

/// A whole number with commas.
pub fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(",")
}
