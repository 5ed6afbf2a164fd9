//! `stores list`, `stores check`, `stores add` and `stores remove`. The running program sees by itself what becomes of
//! the folder's files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf, absolute};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use serde_json::json;
use thiserror::Error;
use url::Url;

use super::table::Rows;
use super::{doctor, exit, out};
use crate::config::{Config, Origin, RefusedStore, Store};
use crate::operate::doctor::{Check, Health, check_token, examine_stores};
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::platform::text::plural;

/// What to do with stores.
#[derive(Debug, Clone, Subcommand)]
pub enum StoresCommand {
    /// List the stores: country, host, and where each is defined
    List,
    /// Check the settings and the tokens' files of all stores, or of some; exit code 7 if one can't be used
    Check(CheckArgs),
    /// Add a store as a file of its own to the folder `stores_dir`; a running program starts it within seconds
    ///
    /// The token comes from the standard input, or stays in a file of yours. It is tried with the list of IDs, which leaves
    /// new orders alone. Without --country it is tried in all four countries, and the one that takes it counts.
    Add(AddArgs),
    /// Remove a store's file; a running program publishes what it has read, and stops the store
    Remove {
        /// The store's name
        name: StoreName,
    },
}

/// What to check.
#[derive(Debug, Clone, Args)]
pub struct CheckArgs {
    /// Only these stores
    pub names: Vec<StoreName>,
    /// Also ask the marketplace whether it takes the tokens, by the list of IDs
    #[arg(long)]
    pub online: bool,
}

/// The new store.
#[derive(Debug, Clone, Args)]
pub struct AddArgs {
    /// The store's name: part of every event, never to be changed
    pub name: StoreName,
    /// CO, MX, EC or CR
    #[arg(long)]
    pub country: Option<Country>,
    /// A file that holds the token, in place of the standard input; it is read again when it has changed
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Where the marketplace answers, if not at the country's address
    #[arg(long, value_name = "URL", requires = "country")]
    pub base_url: Option<Url>,
    /// Do not ask the marketplace whether it takes the token
    #[arg(long, requires = "country")]
    pub unchecked: bool,
}

/// Why a store can't be added or removed as it was asked for.
#[derive(Debug, Error)]
pub enum StoresError {
    #[error("`stores_dir` is not set: name a folder for the stores' files in the settings, or by IMOTRIZ_STORES_DIR")]
    NoFolder,
    #[error("the store `{name}` is defined already: {place}")]
    Defined { name: StoreName, place: String },
    #[error("there is no store `{0}`: see `imotriz-kafka stores list`")]
    Unknown(StoreName),
    #[error("the store `{name}` has no file of its own: take [stores.{name}] out of {place} by hand")]
    NotAlone { name: StoreName, place: String },
    #[error("no token came: write it to the standard input, or name its file by --token-file")]
    NoToken,
    #[error("no country takes the token, or several do: say which with --country. {}", .0.join("; "))]
    WhichCountry(Vec<String>),
    #[error("{found}; {cure}. Nothing was written")]
    Refused { found: String, cure: String },
}

/// Returns the exit code.
///
/// # Errors
/// See [`StoresError`]; a file can't be read or written.
pub async fn run(command: StoresCommand, config: &Config, json: bool) -> Result<u8> {
    match command {
        StoresCommand::List => list(config, json),
        StoresCommand::Check(args) => return check(&args, config, json).await,
        StoresCommand::Add(args) => add(args, config, json).await?,
        StoresCommand::Remove { name } => remove(&name, config, json)?,
    }
    Ok(0)
}

fn list(config: &Config, json: bool) {
    let place = |name: &StoreName| config.place(name).map(Origin::to_string).unwrap_or_default();
    if json {
        for (name, store) in &config.stores {
            out::line(json!({
                "store": name, "country": store.country, "base_url": store.base_url, "defined": place(name),
            }));
        }
        for RefusedStore { store, file, reason } in &config.refused {
            out::line(json!({ "store": store, "file": file, "refused": reason }));
        }
        return;
    }
    let mut rows = Rows::new(["store", "country", "host", "defined in"]);
    for (name, store) in &config.stores {
        let host = store.base_url.host_str().unwrap_or_default().to_owned();
        rows.add([name.to_string(), store.country.code().to_owned(), host, place(name)]);
    }
    out::line(rows);
    for refused in &config.refused {
        out::line(format_args!("can't be used: {}", refused.reason));
    }
}

async fn check(args: &CheckArgs, config: &Config, json: bool) -> Result<u8> {
    if let Some(unknown) = args.names.iter().find(|name| !is_defined(name, config)) {
        return Err(StoresError::Unknown(unknown.clone()).into());
    }
    let checks = examine_stores(config, &args.names, args.online).await;
    let bad: Vec<_> = checks.iter().filter(|check| check.health == Health::Bad).cloned().collect();
    if json {
        out::report(json!({ "ok": bad.is_empty(), "bad": bad.len(), "checks": checks }));
    } else {
        // Thousands of lines would hide the few that matter.
        doctor::print(if args.names.is_empty() { &bad } else { &checks });
        out::report(format_args!("{} checked, {} to mend", plural(checks.len() as u64, "store"), bad.len()));
    }
    Ok(if bad.is_empty() { 0 } else { exit::FINDING })
}

fn is_defined(name: &StoreName, config: &Config) -> bool {
    config.stores.contains_key(name) || config.refused.iter().any(|refused| refused.store.as_ref() == Some(name))
}

async fn add(args: AddArgs, config: &Config, json: bool) -> Result<()> {
    let folder = config.stores_dir.as_ref().ok_or(StoresError::NoFolder)?;
    let path = folder.join(format!("{}.toml", args.name));
    if is_defined(&args.name, config) {
        let refused = || config.refused.iter().find(|refused| refused.store.as_ref() == Some(&args.name));
        let place = config.place(&args.name).map(Origin::to_string);
        let place = place.or_else(|| Some(refused()?.reason.clone())).unwrap_or_default();
        return Err(StoresError::Defined { name: args.name, place }.into());
    }
    if path.exists() {
        return Err(StoresError::Defined { name: args.name, place: path.display().to_string() }.into());
    }
    let draft = Draft { token: token(&args)?, path, args };
    let country = match draft.args.country {
        Some(country) => country,
        None => draft.country(config).await?,
    };
    let (text, store) = draft.store(country, config)?;
    store.token.read()?;
    if !draft.args.unchecked && draft.args.country.is_some() {
        accepted(check_token(&draft.args.name, &store).await)?;
    }
    write(&draft.path, &text).with_context(|| format!("can't write {}", draft.path.display()))?;
    let Draft { path, args: AddArgs { name, .. }, .. } = draft;
    match json {
        true => out::report(json!({ "store": name, "country": country, "file": path })),
        false => out::report(format_args!("{name} ({country}) is added: {}", path.display())),
    }
    Ok(())
}

/// How the token stands in the new file.
enum NewToken {
    Inline(String),
    File(PathBuf),
}

fn token(args: &AddArgs) -> Result<NewToken> {
    if let Some(file) = &args.token_file {
        let file = absolute(file).with_context(|| format!("can't tell where {} is", file.display()))?;
        return Ok(NewToken::File(file));
    }
    if io::stdin().is_terminal() {
        eprintln!("the token of {}, then Enter and Ctrl-D:", args.name);
    }
    let mut text = String::new();
    // A token is short; whatever is longer is something else.
    io::stdin()
        .lock()
        .take(64 << 10)
        .read_to_string(&mut text)
        .context("can't read the token from the standard input")?;
    match text.trim() {
        "" => Err(StoresError::NoToken.into()),
        token => Ok(NewToken::Inline(token.to_owned())),
    }
}

/// The store that is about to be added.
struct Draft {
    args: AddArgs,
    token: NewToken,
    path: PathBuf,
}

impl Draft {
    /// The file's text, and the store that it defines.
    fn store(&self, country: Country, config: &Config) -> Result<(String, Store)> {
        let AddArgs { name, base_url, .. } = &self.args;
        let quoted = |text: &str| toml::Value::from(text).to_string();
        let token = match &self.token {
            NewToken::Inline(token) => format!("token = {}", quoted(token)),
            NewToken::File(file) => format!("token_file = {}", quoted(&file.display().to_string())),
        };
        let base_url =
            base_url.as_ref().map(|url| format!("base_url = {}\n", quoted(url.as_str()))).unwrap_or_default();
        let text = format!("[stores.{name}]\ncountry = \"{}\"\n{token}\n{base_url}", country.code());
        let store = config.store_in_file(name, &self.path, &text)?;
        Ok((text, store))
    }

    /// The one country that takes the token.
    async fn country(&self, config: &Config) -> Result<Country> {
        let mut taken = Vec::new();
        let mut told = Vec::new();
        for country in Country::ALL {
            let (_, store) = self.store(country, config)?;
            store.token.read()?;
            let check = check_token(&self.args.name, &store).await;
            match check.health {
                Health::Good => taken.push(country),
                _ => told.push(format!("{country}: {}", check.found)),
            }
        }
        match taken.as_slice() {
            [country] => Ok(*country),
            _ => Err(StoresError::WhichCountry(told).into()),
        }
    }
}

fn accepted(check: Check) -> Result<(), StoresError> {
    match check.health {
        Health::Good => Ok(()),
        _ => {
            let cure = check.cure.unwrap_or_default();
            Err(StoresError::Refused { found: check.found, cure: cure + ", or write it all the same with --unchecked" })
        }
    }
}

/// Writes the file beside its place under a name that does not count, and renames it: the running program never sees
/// half of it. It holds a token, so nobody else may read it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written.and_then(|()| File::open(folder)?.sync_all())
}

fn remove(name: &StoreName, config: &Config, json: bool) -> Result<()> {
    let refused = || config.refused.iter().find(|refused| refused.store.as_ref() == Some(name));
    let place = config.place(name);
    let file = place.and_then(Origin::file).or_else(|| refused()?.file.as_deref());
    if !is_defined(name, config) {
        return Err(StoresError::Unknown(name.clone()).into());
    }
    let own = file.filter(|file| file.parent() == config.stores_dir.as_deref() && is_alone(name, file, config));
    let Some(file) = own else {
        let place = place.map(Origin::to_string).or_else(|| Some(file?.display().to_string())).unwrap_or_default();
        return Err(StoresError::NotAlone { name: name.clone(), place }.into());
    };
    fs::remove_file(file).with_context(|| format!("can't remove {}", file.display()))?;
    match json {
        true => out::report(json!({ "store": name, "removed": file })),
        false => out::report(format_args!("{name} is removed: {}", file.display())),
    }
    Ok(())
}

/// Whether the file defines no other store.
fn is_alone(name: &StoreName, file: &Path, config: &Config) -> bool {
    let others = config.stores.keys().filter(|other| config.place(other).and_then(Origin::file) == Some(file));
    let refused = config.refused.iter().filter(|refused| refused.file.as_deref() == Some(file));
    !others.chain(refused.filter_map(|refused| refused.store.as_ref())).any(|other| other != name)
}
