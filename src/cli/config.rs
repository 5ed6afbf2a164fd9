//! `config show` and `config check`.

use anyhow::{Context, Result};
use clap::Subcommand;

use super::out;
use crate::config::{CaFile, Config, PasswordSource};

/// What to do with the settings.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting in force and where it was set; secrets are redacted
    Show,
    /// Check the settings and read the files with secrets and certificates, without connecting to anything
    Check,
}

/// Prints or checks settings that were loaded already.
///
/// # Errors
/// The settings name no store, or a file with a secret or with certificates can't be read.
pub fn run(command: ConfigCommand, config: &Config, json: bool) -> Result<()> {
    let text = match command {
        ConfigCommand::Show if json => format!("{:#}\n", config.redacted_json()),
        ConfigCommand::Show => config.redacted_toml(),
        ConfigCommand::Check => check(config, json)?,
    };
    out::bytes(text.as_bytes());
    Ok(())
}

fn check(config: &Config, json: bool) -> Result<String> {
    let stores = config.stores_or_error()?;
    for (name, store) in stores {
        let of_store = || format!("store `{name}`");
        store.token.read().with_context(of_store)?;
        store.api.ca_file.as_ref().map(CaFile::read).transpose().with_context(of_store)?;
    }
    if let Some(registry) = &config.schema_registry {
        registry.password.as_ref().map(PasswordSource::read).transpose().context("schema registry")?;
        registry.ca_file.as_ref().map(CaFile::read).transpose().context("schema registry")?;
    }
    config.kafka.properties.check_files().context("kafka.properties")?;
    config.refused_or_none()?;
    let names: Vec<_> = stores.keys().map(ToString::to_string).collect();
    Ok(match json {
        true => format!("{}\n", serde_json::json!({ "ok": true, "stores": names })),
        false => format!("settings are fine; stores: {}\n", names.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_without_stores_says_how_to_set_one_up() {
        let message = check(&Config::default(), false).unwrap_err().to_string();
        assert!(message.contains("[stores.NAME]") && message.contains("IMOTRIZ_STORES__NAME__COUNTRY=CO"), "{message}");
    }

    #[test]
    fn a_check_reads_the_token_files() {
        let config = Config::from_toml("[stores.bogota]\ncountry = \"CO\"\ntoken_file = \"no/such/file\"").unwrap();
        let message = format!("{:#}", check(&config, false).unwrap_err());
        assert!(message.starts_with("store `bogota`: can't read the token file no/such/file: "), "{message}");
        assert_eq!(message.matches("No such file").count(), 1, "{message}");
    }

    #[test]
    fn a_check_that_passes_names_the_stores() {
        let config = Config::from_toml("[stores.bogota]\ncountry = \"CO\"\ntoken = \"t\"").unwrap();
        assert_eq!(check(&config, false).unwrap(), "settings are fine; stores: bogota\n");
        assert_eq!(check(&config, true).unwrap(), "{\"ok\":true,\"stores\":[\"bogota\"]}\n");
    }
}
