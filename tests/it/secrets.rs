//! Tests of secret files and their owners: the container image's user must be able to read them.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::compose::read;
use crate::support::program::{Program, Settings};

/// As whom the image runs the program.
const USER: u32 = 65532;
const DEADLINE: Duration = Duration::from_secs(30);

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A folder that all may enter, with the program in it: where it was built may be closed to others.
struct Place {
    folder: TempDir,
    program: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let program = folder.path().join("imotriz-kafka");
        fs::copy(env!("CARGO_BIN_EXE_imotriz-kafka"), &program).unwrap();
        set_mode(&program, 0o755);
        Self { folder, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self) -> Settings {
        Settings::of([])
            .with("IMOTRIZ_STORES__BOGOTA__COUNTRY", "CO")
            .with("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE", &self.path("secrets/token").display().to_string())
            .with("IMOTRIZ_SPOOL__DIR", &self.path("spool").display().to_string())
    }

    /// What the program says to the image's user.
    fn told(&self, settings: &Settings, arguments: &[&str], code: i32) -> String {
        set_mode(settings.directory(), 0o755);
        let mut program = Program::spawn(settings.command_as(USER, &self.program, arguments));
        program.expect_exit(code, DEADLINE);
        program.output()
    }

    /// What docs/operations.md says under "With docker compose", typed in this folder.
    fn types(&self, lines: &str, input: &str) {
        let mut shell = Command::new("/bin/sh");
        let script = format!("set -e\nsudo() {{ \"$@\"; }}\n{lines}");
        shell.args(["-c", &script]).current_dir(self.folder.path()).stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        shell.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success(), "{lines}\nIt makes files over to user {USER}: run it as root");
    }
}

/// The lines of docs/operations.md that make the folder, and those that replace the token.
fn typed() -> (String, String) {
    let operations = read("docs/operations.md");
    let blocks: Vec<_> = operations.split("\n```").filter(|block| block.contains(" secrets/token")).collect();
    let [first, rotation] = blocks[..] else { panic!("{} blocks about secrets/token", blocks.len()) };
    (first.trim_start().to_owned(), rotation.trim_start().to_owned())
}

#[test]
fn whoever_can_not_read_a_file_is_told_as_whom_the_program_runs() {
    let place = Place::new();
    let closed = |name: &str| {
        fs::create_dir(place.path(name)).unwrap();
        set_mode(&place.path(name), 0o700);
    };
    closed("secrets");
    fs::write(place.path("secrets/token"), "s3cret").unwrap();
    fs::write(place.path("secrets/settings.toml"), "").unwrap();
    let who = "The program runs as user 65532, who must be able to read the file and to enter its folder";
    let told = place.told(&place.settings(), &["config", "check"], 2);
    assert!(told.contains(who) && told.contains("token file") && !told.contains("s3cret"), "{told}");

    let file = place.path("secrets/settings.toml").display().to_string();
    let told = place.told(&place.settings(), &["--config", &file, "config", "check"], 2);
    assert!(told.contains(who) && told.contains("settings file"), "{told}");

    let registry = place
        .settings()
        .without("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE")
        .with("IMOTRIZ_STORES__BOGOTA__TOKEN", "t")
        .with("IMOTRIZ_SCHEMA_REGISTRY__URL", "http://127.0.0.1:1")
        .with("IMOTRIZ_SCHEMA_REGISTRY__USERNAME", "u")
        .with("IMOTRIZ_SCHEMA_REGISTRY__PASSWORD_FILE", &place.path("secrets/token").display().to_string());
    let told = place.told(&registry, &["config", "check"], 2);
    assert!(told.contains(who) && told.contains("password file"), "{told}");

    closed("spool");
    let told = place.told(&registry, &["drain"], 6);
    assert!(told.contains("let user 65532, as whom this program runs, read and write there"), "{told}");

    let state = place.path("spool/shop.jsonl").display().to_string();
    let told = place.told(&registry, &["sandbox", "--listen", "127.0.0.1:0", "--state", &state], 2);
    assert!(told.contains("Let user 65532, as whom the sandbox runs, read and write it"), "{told}");
}

#[test]
fn the_folder_that_the_readme_makes_lets_the_images_user_read_the_token_and_each_later_one() {
    let place = Place::new();
    let (first, rotation) = typed();
    place.types(&first, "first-token\n");
    assert!(place.told(&place.settings(), &["config", "check"], 0).contains("settings are fine"));
    assert_eq!(fs::metadata(place.path("secrets")).unwrap().permissions().mode() & 0o7, 0, "others may enter");
    assert_eq!(fs::metadata(place.path("secrets/token")).unwrap().permissions().mode() & 0o7, 0, "others may read");

    place.types(&rotation, "later-token\n");
    assert_eq!(fs::read_to_string(place.path("secrets/token")).unwrap(), "later-token\n");
    assert!(place.told(&place.settings(), &["config", "check"], 0).contains("settings are fine"));
}
