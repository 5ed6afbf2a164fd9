//! Checks of the stores alone: their settings and tokens.

use std::path::Path;

use super::Check;
use super::each_store::each_store;
use super::marketplace::{check_token, no_token};
use crate::config::{Config, RefusedStore, Store};
use crate::order::ids::StoreName;

/// Checks the settings of the stores, and that their tokens can be read. With `online` it also asks the marketplace
/// whether it accepts them, by the list of IDs. `only`: no store besides these, or all if it is empty.
pub async fn examine_stores(config: &Config, only: &[StoreName], online: bool) -> Vec<Check> {
    let is_wanted = |name: &StoreName| only.is_empty() || only.contains(name);
    let mut checks: Vec<_> = refused(config, is_wanted);
    let stores = config.stores.iter().filter(|(name, _)| is_wanted(name));
    checks.extend(match online {
        true => each_store(stores, async |name, store| vec![check_token(&name, &store).await]).await,
        false => stores.map(|(name, store)| readable(name, store)).collect(),
    });
    checks
}

/// The stores whose settings can't be used.
pub(super) fn refused(config: &Config, is_wanted: impl Fn(&StoreName) -> bool) -> Vec<Check> {
    let cure = "correct the file: a running program takes it up by itself, and keeps to the store's former settings until then";
    let wanted = config.refused.iter().filter(|refused| refused.store.as_ref().is_none_or(&is_wanted));
    let check = |refused: &RefusedStore| {
        let file = || refused.file.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let name = refused.store.as_ref().map(ToString::to_string).or_else(file).unwrap_or_default();
        Check::bad(format!("settings {name}"), refused.reason.clone(), cure)
    };
    wanted.map(check).collect()
}

fn readable(name: &StoreName, store: &Store) -> Check {
    let what = format!("token {name}");
    match store.token.read() {
        Ok(_) => Check::good(what, format!("can be read; for {} at {}", store.country, store.base_url)),
        Err(error) => no_token(&what, &error),
    }
}
