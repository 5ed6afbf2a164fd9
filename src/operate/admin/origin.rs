//! Who may ask. A page of another site can make a browser on this machine ask, under a name of its own that leads here.
//! Such a name has a dot, so names with one have to be listed in `admin.hosts`.

use std::net::IpAddr;

/// Whether a request for this `Host` is answered.
pub(super) fn is_expected(host: Option<&str>, listed: &[String]) -> bool {
    let Some(host) = host else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let is_listed = || listed.iter().any(|listed| listed.eq_ignore_ascii_case(&name));
    // guard: pages of other sites get no answer
    name.parse::<IpAddr>().is_ok()
        || name.ends_with(".localhost")
        || (!name.is_empty() && !name.contains('.'))
        || is_listed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_names_without_a_dot_and_listed_names_are_expected() {
        let listed = ["producer.shop.svc".to_owned()];
        for good in ["127.0.0.1:9464", "[::1]:9464", "localhost", "producer:9464", "Producer.shop.svc:9464", "10.0.0.7"]
        {
            assert!(is_expected(Some(good), &listed), "{good}");
        }
        for bad in [None, Some(""), Some("evil.example"), Some("127.0.0.1.evil.example:9464"), Some("shop.svc")] {
            assert!(!is_expected(bad, &listed), "{bad:?}");
        }
    }
}
