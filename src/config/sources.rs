//! What the settings are loaded from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::ConfigError;
use super::folder::{Folder, FolderVersion};
use super::layers::Layers;
use super::{Config, DEFAULT_FILE};

/// The settings file as it was read, the environment and the command line. The folder `stores_dir` is read at each
/// load, so that its stores can change while everything else stays as it is.
pub struct Sources {
    file: Option<(PathBuf, SecretString)>,
    variables: Vec<(String, String)>,
    overrides: Vec<(String, String)>,
}

impl Sources {
    /// Reads the settings file: `file`, or else the one named by the variable `IMOTRIZ_CONFIG`, or else
    /// [`DEFAULT_FILE`] in the working directory if it exists. `overrides` are dotted names and their values.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let variables: Vec<_> = environment.into_iter().collect();
        let read = |path: PathBuf| match fs::read_to_string(&path) {
            Ok(text) => Ok((path, text.into())),
            Err(reason) => Err(ConfigError::Unreadable { path, reason }),
        };
        let file = path_of(file, &variables).map(read).transpose()?;
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Ok(Self { file, variables, overrides })
    }

    /// Loads the settings, and the folder of stores as it is now.
    ///
    /// # Errors
    /// A key is unknown, a value can't be used, or the folder can't be read. The message names the place. What is wrong
    /// in the folder's files is no error here: see [`Config::refused`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        let mut layers = Layers::default();
        if let Some((path, text)) = &self.file {
            layers.add_file(path, text.expose_secret())?;
        }
        let stores_dir = self.stores_dir(&layers);
        let version = stores_dir.map(|dir| add_folder(&mut layers, &dir)).transpose()?;
        layers.add_environment(&self.variables)?;
        layers.add_command_line(&self.overrides)?;
        Config::of_layers(layers, self.file.as_ref().map(|(path, _)| path.as_path()), version)
    }

    /// The folder's files count below variables, so they are read before those are looked through.
    fn stores_dir(&self, layers: &Layers) -> Option<PathBuf> {
        let set = |all: &[(String, String)], wanted: &str| {
            let found = all.iter().find(|(name, value)| name == wanted && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        set(&self.overrides, "stores_dir")
            .or_else(|| set(&self.variables, "IMOTRIZ_STORES_DIR"))
            .or_else(|| layers.text("stores_dir").map(str::to_owned))
            .map(PathBuf::from)
    }
}

fn add_folder(layers: &mut Layers, dir: &Path) -> Result<FolderVersion, ConfigError> {
    let Folder { files, version } = Folder::read(dir)?;
    layers.add_folder(files);
    Ok(version)
}

fn path_of(named: Option<&Path>, variables: &[(String, String)]) -> Option<PathBuf> {
    let variable = || {
        let set = variables.iter().find(|(name, value)| name == "IMOTRIZ_CONFIG" && !value.is_empty());
        set.map(|(_, value)| PathBuf::from(value))
    };
    // Only a clear "not found" means absent. Any other error shows when the file is read, so that settings are never
    // overlooked.
    let is_there = |path: &PathBuf| !path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
    let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(is_there);
    named.map(Path::to_owned).or_else(variable).or_else(default)
}
