//! Finds the one JSON document in a body that is not JSON as a whole. A PHP back end writes notices before or after the
//! document, and copies bytes from its database that are not UTF-8.
//!
//! Only bodies that the strict parser rejects come here, so a normal body pays nothing. The result depends on the bytes
//! alone: the drain, the recovery and the publishing lane all find the same document.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::PageError;
use crate::order::json::Entries;

/// How many candidate positions are tried. An HTML page has many braces.
const STARTS: usize = 200;

/// A JSON document within a body.
pub(super) struct Document<'a> {
    /// The document's original bytes.
    bytes: &'a [u8],
    /// Valid JSON of the same length as `bytes`: each byte that JSON can't hold is replaced.
    text: Cow<'a, str>,
    noise: Option<Noise>,
}

/// The text around a document. It is never shown, since a notice can quote an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Noise {
    /// A word for what it seems to be.
    pub kind: &'static str,
    /// The number of bytes before the document.
    pub before: usize,
    /// The number of bytes after it.
    pub behind: usize,
}

impl Noise {
    pub(super) fn is_php(self) -> bool {
        self.kind.starts_with("PHP")
    }
}

impl<'a> Document<'a> {
    /// Finds the only document whose entries satisfy `is_it`. `None` if there is none, or if there may be another: then
    /// nobody can tell which orders were handed over.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if a document begins and does not end.
    pub(super) fn find(body: &'a [u8], is_it: impl Fn(&Entries<'_>) -> bool) -> Result<Option<Self>, PageError> {
        let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(body.len());
        let bytes = &body[start..];
        let text = readable(bytes, b'?');
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => return Ok(Some(Self { bytes, text, noise: None })),
            Err(error) if error.classify() == Category::Eof => return Err(PageError::Truncated(body.len())),
            Err(_) => {}
        }
        let text = utf8(body, b'?');
        let Some((start, end)) = search(&text, is_it)? else { return Ok(None) };
        // guard: no second page hides beside the one that is read
        if names_data(&body[..start]) || names_data(&body[end..]) {
            return Ok(None);
        }
        let noise = Noise { kind: kind(&body[..start], &body[end..]), before: start, behind: body.len() - end };
        let text = match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[start..end]),
            Cow::Owned(text) => Cow::Owned(text[start..end].to_owned()),
        };
        Ok(Some(Self { bytes: &body[start..end], text, noise: Some(noise) }))
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The original bytes of `part`, a slice of the document's text.
    pub(super) fn original(&self, part: &str) -> &'a [u8] {
        let start = part.as_ptr().addr() - self.text.as_ptr().addr();
        &self.bytes[start..start + part.len()]
    }

    pub(super) fn noise(&self) -> Option<Noise> {
        self.noise
    }
}

/// Start and end of the first object that satisfies `is_it`. Other objects are skipped as a whole.
fn search(text: &str, is_it: impl Fn(&Entries<'_>) -> bool) -> Result<Option<(usize, usize)>, PageError> {
    let (mut from, mut tries) = (0, 0);
    while let Some(start) = text[from..].find('{').map(|found| from + found) {
        from = start + 1;
        if !text[from..].trim_ascii_start().starts_with('"') {
            continue;
        }
        tries += 1;
        if tries > STARTS {
            return Ok(None);
        }
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                let end = start + values.byte_offset();
                if serde_json::from_str::<Entries<'_>>(&text[start..end]).is_ok_and(|entries| is_it(&entries)) {
                    return Ok(Some((start, end)));
                }
                from = end;
            }
            Some(Err(error)) if error.classify() == Category::Eof => return Err(PageError::Truncated(text.len())),
            Some(Err(_)) | None => {}
        }
    }
    Ok(None)
}

/// The start of the first object. The object may be incomplete.
pub(super) fn object_in(start: &[u8]) -> Option<usize> {
    let text = utf8(start, b'?');
    let braces = text.match_indices('{').map(|(at, _)| at);
    let begins = |at: &usize| {
        let mut values = serde_json::Deserializer::from_str(&text[*at..]).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Err(error)) => error.classify() == Category::Eof,
            Some(Ok(_)) => true,
            None => false,
        }
    };
    braces.filter(|at| text[at + 1..].trim_ascii_start().starts_with('"')).take(STARTS).find(begins)
}

/// Whether the noise contains a key `data`: that would be a second document, or part of one.
pub(super) fn names_data(noise: &[u8]) -> bool {
    let name = b"\"data\"";
    noise
        .windows(name.len())
        .enumerate()
        .any(|(at, part)| part == name && noise[at + name.len()..].trim_ascii_start().first() == Some(&b':'))
}

/// Classifies noise: PHP's notices begin with their kind, with or without HTML.
fn kind(before: &[u8], behind: &[u8]) -> &'static str {
    let first = if before.trim_ascii().is_empty() { behind } else { before };
    let text = String::from_utf8_lossy(first).to_ascii_lowercase();
    let start = text.trim_start();
    let start =
        start.strip_prefix("<br").map_or(start, |rest| rest.trim_start_matches([' ', '/', '>', '\r', '\n', '<', 'b']));
    let start = start.strip_prefix("php ").unwrap_or(start);
    let words = [
        ("warning", "PHP warning"),
        ("notice", "PHP notice"),
        ("deprecated", "PHP deprecation"),
        ("fatal error", "PHP error"),
        ("parse error", "PHP error"),
    ];
    let word = words.iter().find(|(word, _)| start.starts_with(word));
    word.map_or(if text.contains('<') { "HTML" } else { "text" }, |(_, kind)| kind)
}

/// Converts bytes to text of the same length by replacing each byte that is not UTF-8.
fn utf8(bytes: &[u8], placeholder: u8) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::from(placeholder)));
    }
    text.into()
}

/// As [`utf8`], and also replaces each unescaped control character in a string, which JSON does not allow. `bytes` must
/// begin outside of a string.
pub(super) fn readable(bytes: &[u8], placeholder: u8) -> Cow<'_, str> {
    let text = utf8(bytes, placeholder);
    let mut inside = Strings::default();
    if !text.bytes().any(|byte| inside.is_inside(byte) && byte < b' ') {
        return text;
    }
    let mut inside = Strings::default();
    let mut bytes = text.into_owned().into_bytes();
    for byte in &mut bytes {
        if inside.is_inside(*byte) && *byte < b' ' {
            *byte = placeholder;
        }
    }
    String::from_utf8(bytes).expect("one ASCII character takes the place of another").into()
}

/// Tracks whether a byte is inside a JSON string.
#[derive(Default)]
struct Strings {
    open: bool,
    escaped: bool,
}

impl Strings {
    fn is_inside(&mut self, byte: u8) -> bool {
        let was_open = self.open;
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.open,
            b'"' => self.open = !self.open,
            _ => {}
        }
        was_open && self.open
    }
}
