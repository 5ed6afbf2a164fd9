//! A message instead of orders. The marketplace does not document its error bodies; the names and numbers here are
//! those that PHP back ends use.

use serde_json::value::RawValue;

use super::document::Document;
use super::{is_message, says_nothing};
use crate::order::json::{self, Entries, Kind};

/// The meaning of a JSON object that has a message, an error or a status, and no `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// It reports a failure, or has an error code.
    Failed,
    /// It has the code 404: the requested thing does not exist.
    NotFound,
    /// It reports success.
    Well,
    /// It reports neither.
    Unclear,
}

impl Message {
    /// Classifies a body as a message, with or without notices around it. `None` if it is not a message.
    #[must_use]
    pub fn of(body: &[u8]) -> Option<Self> {
        let document = Document::find(body, |_| true).ok()??;
        // An HTML page may contain any object.
        if document.noise().is_some_and(|noise| !noise.is_php()) {
            return None;
        }
        let entries: Entries<'_> = serde_json::from_str(document.text()).ok()?;
        let data = entries.get("data").filter(|data| !says_nothing(data));
        let speaks = entries.0.iter().any(|(name, _)| is_message(name) || is_error(name) || name == "success");
        (data.is_none() && speaks).then(|| Self::said_by(&entries))
    }

    fn said_by(entries: &Entries<'_>) -> Self {
        let nested = ["error", "errors"].iter().filter_map(|name| entries.get(name));
        let nested = nested.filter(|error| Kind::of(*error) == Kind::Object).filter_map(Entries::of);
        let code = nested.filter_map(|error| code(&error)).next().or_else(|| code(entries));
        let error = entries.0.iter().any(|(name, value)| is_error(name) && !says_nothing(value));
        match code {
            Some(404) => Self::NotFound,
            Some(400..) => Self::Failed,
            _ if error => Self::Failed,
            Some(200..=299) => Self::Well,
            _ => verdict(entries),
        }
    }
}

fn is_error(name: &str) -> bool {
    matches!(name, "error" | "errors")
}

fn code(entries: &Entries<'_>) -> Option<u16> {
    let names = ["code", "status", "statusCode", "status_code"];
    names.iter().filter_map(|name| entries.get(name)).find_map(number)
}

fn number(value: &RawValue) -> Option<u16> {
    match Kind::of(value) {
        Kind::Number => value.get().parse().ok(),
        Kind::Text => json::text(value)?.trim().parse().ok(),
        _ => None,
    }
}

/// Decides by the words in `success` and `status`.
fn verdict(entries: &Entries<'_>) -> Message {
    let words = ["success", "status"].iter().filter_map(|name| entries.get(name));
    let words: Vec<String> =
        words.map(|word| json::text(word).unwrap_or_else(|| word.get().into()).to_ascii_lowercase()).collect();
    if words.iter().any(|word| matches!(word.as_str(), "false" | "0" | "error" | "fail" | "failed" | "failure")) {
        Message::Failed
    } else if words.iter().any(|word| matches!(word.as_str(), "true" | "1" | "success" | "ok")) {
        Message::Well
    } else {
        Message::Unclear
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_by_its_codes_and_words() {
        for (body, expected) in [
            (r#"{"status":"error","code":404,"message":"No se encontraron órdenes"}"#, Some(Message::NotFound)),
            (r#"{"error":{"code":"404","message":"x"}}"#, Some(Message::NotFound)),
            (r#"{"status":404,"message":"x","data":[]}"#, Some(Message::NotFound)),
            ("<br />\n<b>Warning</b>: x<br />\n{\"code\":404,\"message\":\"x\"}", Some(Message::NotFound)),
            (r#"{"status":"error","code":500,"message":"x"}"#, Some(Message::Failed)),
            (r#"{"success":false,"message":"No hay"}"#, Some(Message::Failed)),
            (r#"{"status":"error","message":"No hay"}"#, Some(Message::Failed)),
            (r#"{"error":"Token no válido"}"#, Some(Message::Failed)),
            (r#"{"status":"success","message":"No hay"}"#, Some(Message::Well)),
            (r#"{"success":true,"message":"No hay"}"#, Some(Message::Well)),
            (r#"{"code":200,"message":"No hay"}"#, Some(Message::Well)),
            (r#"{"message":"No hay"}"#, Some(Message::Unclear)),
            (r#"{"data":[{"id":1}],"message":"x"}"#, None),
            (r#"{"orders":[1]}"#, None),
            ("<html>404</html>", None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(Message::of(body.as_bytes()), expected, "{body}");
        }
    }
}
