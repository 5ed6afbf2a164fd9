//! The content of an answer: the marketplace's JSON, and how a fault changes it.

use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;

use super::faults::Fault;
use super::wire::Plan;

/// An answer, and how it is to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) location: Option<&'static str>,
    pub(super) server: Option<&'static str>,
    /// The `Retry-After` header, in seconds.
    pub(super) retry_after: Option<u64>,
    pub(super) body: Vec<u8>,
    /// How long it is held back, beyond the delay of all answers.
    pub(super) wait: Duration,
    pub(super) plan: Plan,
}

const HTML: &str = "<!DOCTYPE html>\n<html lang=\"es\"><head><title>iMotriz</title></head>\
    <body><h1>Estamos en mantenimiento</h1><p>Vuelve en unos minutos.</p></body></html>\n";
/// A warning as PHP prints it, with braces and quotes.
const NOTICE: &str = "<br />\n<b>Warning</b>:  Undefined array key \"mobile\" in \
    <b>/srv/api/controllers/{cart}.php</b> on line <b>12</b><br />\n";
const FIREWALL: &str = "<!DOCTYPE html>\n<html><head><title>Attention Required!</title></head>\
    <body><h1>Sorry, you have been blocked</h1></body></html>\n";
/// HTML pages bring styles and scripts along, and so are as long as a page of orders.
const HTML_LENGTH: usize = 24 << 10;

impl Answer {
    pub(super) fn json(body: Vec<u8>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "application/json",
            location: None,
            server: None,
            retry_after: None,
            body,
            wait: Duration::ZERO,
            plan: Plan::Send,
        }
    }

    pub(super) fn error(status: StatusCode, message: &str) -> Self {
        let body = serde_json::json!({"status": "error", "code": status.as_u16(), "message": message});
        Self { status, ..Self::json(body.to_string().into_bytes()) }
    }

    /// Whether the connection is cut before the status.
    pub(super) fn is_cut(&self) -> bool {
        self.plan == Plan::Cut
    }

    /// Applies a fault to the answer. Faults of a page's records were applied before.
    pub(super) fn under(mut self, fault: Fault) -> Self {
        match fault {
            Fault::DropBefore | Fault::DropAfter => self.plan = Plan::Cut,
            Fault::Truncate => self.plan = Plan::CutAfter(self.body.len() / 2),
            Fault::ErrorBefore | Fault::ErrorAfter => {
                return Self::error(StatusCode::INTERNAL_SERVER_ERROR, "Error desconocido en el servidor");
            }
            Fault::Late(time) => self.wait = time,
            Fault::Html => {
                self.content_type = "text/html; charset=UTF-8";
                self.body = HTML.into();
                self.body.resize(HTML_LENGTH, b'\n');
            }
            Fault::Huge(size) => self.body.resize(self.body.len().max(size), b' '),
            Fault::Trickle(pause) => self.plan = Plan::Trickle(Fault::PIECE, pause),
            Fault::Throttle(time) => {
                self = Self::error(StatusCode::TOO_MANY_REQUESTS, "Demasiadas solicitudes");
                self.retry_after = Some(time.as_millis().div_ceil(1000) as u64);
            }
            Fault::Bom => {
                self.body.splice(0..0, *b"\xEF\xBB\xBF");
            }
            Fault::Notice => {
                self.body.splice(0..0, NOTICE.bytes());
            }
            Fault::NoticeBehind => self.body.extend(NOTICE.bytes()),
            Fault::InvalidUtf8 => self.body = with_a_byte_that_is_no_text(self.body),
            Fault::Latin1 => {
                self.content_type = "application/json; charset=ISO-8859-1";
                self.body = latin1(&self.body);
            }
            Fault::NoContent => {
                self.status = StatusCode::NO_CONTENT;
                self.body.clear();
            }
            Fault::NotFound => return Self::error(StatusCode::NOT_FOUND, "No se encontraron órdenes"),
            Fault::Message => self.body = "{\"message\":\"No hay órdenes por sincronizar\"}".into(),
            Fault::Complaint => {
                self.body = "{\"status\":\"error\",\"message\":\"No hay órdenes por sincronizar\"}".into();
            }
            Fault::Waf | Fault::WafAfter => {
                self.status = StatusCode::FORBIDDEN;
                self.content_type = "text/html; charset=UTF-8";
                self.server = Some("cloudflare");
                self.body = FIREWALL.into();
            }
            Fault::TextHtml => self.content_type = "text/html; charset=UTF-8",
            Fault::Redirect => {
                self.status = StatusCode::FOUND;
                self.location = Some("https://elsewhere.example/login");
                self.body.clear();
            }
            Fault::WrongCounts
            | Fault::ObjectData
            | Fault::EmptyAsList
            | Fault::Overfull
            | Fault::Duplicates
            | Fault::EmptyPending => {}
        }
        self
    }
}

#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<Bytes>,
    /// Orders pending before this read.
    pub(super) found: usize,
    /// Orders pending after it.
    pub(super) pending: usize,
}

impl Page {
    pub(super) fn render(mut self, fault: Option<Fault>) -> Vec<u8> {
        match fault {
            Some(Fault::Duplicates) => self.records.extend(self.records.first().cloned()),
            Some(Fault::EmptyAsList) => {
                if let Some(first) = self.records.first_mut() {
                    *first = without_buyer(first);
                }
            }
            _ => {}
        }
        let returned = self.records.len() + usize::from(fault == Some(Fault::WrongCounts));
        let metadata = format!(
            r#""total_transactions_found":{},"returned_transactions":{returned},"pending_transactions":{}"#,
            self.found, self.pending
        );
        envelope(&self.records, fault, &metadata)
    }
}

/// Renders the list of IDs, each of them a JSON value.
pub(super) fn id_list(mut ids: Vec<Bytes>, fault: Option<Fault>) -> Vec<u8> {
    if fault == Some(Fault::Duplicates) {
        ids.extend(ids.first().cloned());
    }
    let metadata = format!(r#""total_transactions_found":{}"#, ids.len());
    envelope(&ids, fault, &metadata)
}

/// Renders a page of the list of IDs, counted from 1, as PHP frameworks do.
pub(super) fn id_page(ids: &[Bytes], page: usize, size: usize) -> Vec<u8> {
    let (total, last) = (ids.len(), ids.len().div_ceil(size).max(1));
    let shown: Vec<Bytes> = ids.iter().skip(page.saturating_sub(1) * size).take(size).cloned().collect();
    let metadata = format!(r#""total":{total},"per_page":{size},"current_page":{page},"last_page":{last}"#);
    envelope(&shown, None, &metadata)
}

/// Renders the answer for one order.
pub(super) fn single(record: &[u8]) -> Vec<u8> {
    [b"{\"data\":", record, b"}"].concat()
}

fn envelope(items: &[Bytes], fault: Option<Fault>, metadata: &str) -> Vec<u8> {
    let keyed = fault == Some(Fault::ObjectData);
    let (open, close) = if keyed { (b'{', b'}') } else { (b'[', b']') };
    let mut body = Vec::with_capacity(items.iter().map(|item| item.len() + 12).sum::<usize>() + metadata.len() + 40);
    body.extend_from_slice(b"{\"data\":");
    body.push(open);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        if keyed {
            body.extend_from_slice(format!("\"{index}\":").as_bytes());
        }
        body.extend_from_slice(item);
    }
    body.push(close);
    body.extend_from_slice(b",\"metadata\":{");
    body.extend_from_slice(metadata.as_bytes());
    body.extend_from_slice(b"}}");
    body
}

/// Inserts the byte into the first name: a page with records names at least one buyer.
fn with_a_byte_that_is_no_text(mut body: Vec<u8>) -> Vec<u8> {
    let name = b"\"name\":\"";
    if let Some(at) = body.windows(name.len()).position(|part| part == name) {
        body.insert(at + name.len(), 0xf1);
    }
    body
}

/// Escapes the characters that ISO-8859-1 lacks. JSON has them in strings only.
fn latin1(body: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(body.len());
    for c in String::from_utf8_lossy(body).chars() {
        match u8::try_from(c) {
            Ok(byte) => encoded.push(byte),
            Err(_) => {
                let units = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
                encoded.extend(units.bytes());
            }
        }
    }
    encoded
}

fn without_buyer(record: &Bytes) -> Bytes {
    match serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(record) {
        Ok(mut fields) => {
            fields.insert("buyer".into(), serde_json::json!([]));
            serde_json::Value::Object(fields).to_string().into()
        }
        // A raw record that is no object has no buyer.
        Err(_) => record.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn page(fault: Option<Fault>) -> Value {
        let records = vec![Bytes::from(r#"{"order":{"id":1},"buyer":{"name":"Peña"}}"#), Bytes::from("{\"order\":{}}")];
        serde_json::from_slice(&Page { records, found: 5, pending: 3 }.render(fault)).unwrap()
    }

    #[test]
    fn a_page_carries_its_records_and_their_counts() {
        assert_eq!(
            page(None),
            json!({
                "data": [{"order": {"id": 1}, "buyer": {"name": "Peña"}}, {"order": {}}],
                "metadata": {"total_transactions_found": 5, "returned_transactions": 2, "pending_transactions": 3},
            })
        );
    }

    #[test]
    fn faults_of_a_page_change_what_they_name() {
        assert_eq!(page(Some(Fault::WrongCounts))["metadata"]["returned_transactions"], 3);
        assert_eq!(page(Some(Fault::ObjectData))["data"]["1"], json!({"order": {}}));
        assert_eq!(page(Some(Fault::EmptyAsList))["data"][0]["buyer"], json!([]));
        let doubled = page(Some(Fault::Duplicates));
        assert_eq!(doubled["data"][2], doubled["data"][0]);
        assert_eq!(doubled["metadata"]["returned_transactions"], 3);
    }

    #[test]
    fn no_order_at_all_is_an_empty_list() {
        let body = Page { records: vec![], found: 0, pending: 0 }.render(None);
        assert!(body.starts_with(br#"{"data":[],"metadata":{"#));
    }
}
