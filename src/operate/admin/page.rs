//! The status page in HTML: one file without scripts or linked resources, so that it works over a slow SSH tunnel.

use std::fmt::{self, Display, Write as _};

use jiff::Timestamp;

use super::snapshot::{Lane, Snapshot, Store};
use crate::avro::event::Reason;
use crate::order::ids::StoreName;

const STYLE: &str = "
:root{color-scheme:light dark;--dim:#6b7280;--line:#d1d5db55;--good:#15803d;--bad:#b91c1c}
@media(prefers-color-scheme:dark){:root{--good:#4ade80;--bad:#f87171;--dim:#9ca3af}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:2rem 0 .3rem}p{margin:.2rem 0}
table{border-collapse:collapse;width:100%}.wide{overflow-x:auto}
th,td{text-align:right;padding:.3rem .7rem;border-bottom:1px solid var(--line);white-space:nowrap;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--dim);font-size:.85rem}th:first-child,td:first-child{text-align:left}
.good{color:var(--good)}.bad{color:var(--bad);font-weight:600}.dim{color:var(--dim)}ul{margin:.3rem 0;padding-left:1.2rem}
@media(max-width:45rem){tr:first-child{display:none}tr{display:block;margin-bottom:1rem}
td,td:first-child{display:flex;justify-content:space-between;gap:1rem;white-space:normal;text-align:right}
td::before{content:attr(title);color:var(--dim);font-size:.85rem;white-space:nowrap}}";

/// Renders the page, which reloads itself every five seconds.
pub(super) fn render(snapshot: &Snapshot) -> String {
    let mut page = String::new();
    // Writing to a `String` can't fail.
    write(&mut page, snapshot).unwrap_or_default();
    page
}

fn write(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    write!(
        page,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=5><title>imotriz-kafka: {title}</title><style>{STYLE}</style>",
        title = if snapshot.ready { "ready" } else { "not ready" },
    )?;
    write_head(page, snapshot)?;
    write_stores(page, snapshot)?;
    write_account(page, snapshot)?;
    write_lanes(page, snapshot)?;
    write_spool(page, snapshot)
}

fn write_head(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let (class, word) = if snapshot.ready { ("good", "ready") } else { ("bad", "not ready") };
    write!(
        page,
        "<h1>imotriz-kafka <span class={class}>{word}</span></h1><p class=dim>version {} · up {} · {}</p>",
        snapshot.version,
        span(snapshot.uptime_seconds),
        snapshot.at.strftime("%Y-%m-%d %H:%M:%S UTC"),
    )?;
    if !snapshot.not_ready.is_empty() {
        page.push_str("<ul>");
        for part in &snapshot.not_ready {
            write!(page, "<li class=bad>{:?}: {}", part.what, Escaped(&part.why))?;
        }
        page.push_str("</ul>");
    }
    Ok(())
}

fn write_stores(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    const HEAD: [&str; 12] = [
        "store",
        "pending",
        "last read",
        "orders read",
        "published",
        "of them reconciled",
        "dead letters",
        "refused",
        "cut reads",
        "not settled",
        "unaccounted",
        "reconciled",
    ];
    let row = |(name, store): (&StoreName, &Store)| {
        let refused = store.refused.token + store.refused.start_date + store.refused.other;
        [
            Escaped(name.as_str()).to_string(),
            store.pending.to_string(),
            ago(store.last_good_read_at, snapshot.at),
            store.orders_read.to_string(),
            store.published.total().to_string(),
            store.published.of(Reason::Reconciled).to_string(),
            Alarming(store.dead_letters).to_string(),
            Alarming(refused).to_string(),
            store.unknown_reads.to_string(),
            Alarming(store.unsettled_unknown_reads).to_string(),
            Alarming(store.unaccounted_orders).to_string(),
            ago(store.last_reconcile.as_ref().map(|last| last.at), snapshot.at),
        ]
    };
    write_table(page, "Stores", HEAD, snapshot.stores.iter().map(row))?;
    write_trouble(page, snapshot)
}

/// Lists the stores that can't be read or reconciled, with the reason.
fn write_trouble(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let troubled = snapshot.stores.iter().flat_map(|(name, store)| {
        let read = store.not_read.iter().map(move |trouble| (name, "not read", trouble));
        read.chain(store.not_reconciled.iter().map(move |trouble| (name, "not reconciled", trouble)))
    });
    for (name, what, trouble) in troubled {
        write!(
            page,
            "<p class=bad>{} is {what}: {} <span class=dim>(failing since {}, last tried {})</span>",
            Escaped(name.as_str()),
            Escaped(&trouble.why),
            ago(Some(trouble.since), snapshot.at),
            ago(Some(trouble.last_tried_at), snapshot.at),
        )?;
    }
    Ok(())
}

fn write_account(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let mut entries = snapshot.stores.values().flat_map(|store| &store.account).peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    let rows = entries.map(|entry| {
        [
            Escaped(entry.store.as_str()).to_string(),
            entry.since.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            entry.marked.to_string(),
            entry.found.to_string(),
            entry.open.to_string(),
            entry.hours_left(snapshot.at).to_string(),
            Escaped(&entry.reason).to_string(),
        ]
    });
    let head = ["store", "since", "marked", "found", "missing", "hours left", "why"];
    write_table(page, "Account of cut reads", head, rows)
}

fn write_lanes(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let row = |(number, lane): (&i32, &Lane)| {
        let Lane { state, index_orders, committed, failed, last_commit_at, why: _ } = lane;
        let class = if *state == "ready" { "good" } else { "bad" };
        [
            number.to_string(),
            format!("<span class={class}>{state}</span>"),
            index_orders.to_string(),
            committed.to_string(),
            Alarming(*failed).to_string(),
            ago(*last_commit_at, snapshot.at),
        ]
    };
    let head = ["lane", "state", "orders in its index", "transactions", "failed", "last commit"];
    write_table(page, "Lanes", head, snapshot.lanes.iter().map(row))
}

/// Writes a table. Cells are HTML, and each carries its column's name, which a narrow screen shows beside the value.
fn write_table<const N: usize>(
    page: &mut String,
    title: &str,
    head: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    write!(page, "<h2>{title}</h2><div class=wide><table><tr>")?;
    head.iter().try_for_each(|name| write!(page, "<th>{name}"))?;
    for row in rows {
        page.push_str("<tr>");
        head.iter().zip(row).try_for_each(|(name, cell)| write!(page, "<td title=\"{name}\">{cell}"))?;
    }
    page.push_str("</table></div>");
    Ok(())
}

fn write_spool(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    page.push_str("<h2>Spool</h2>");
    match &snapshot.spool {
        None => page.push_str("<p class=dim>not looked at yet, or it can't be"),
        Some(spool) => write!(
            page,
            "<p>pages that wait: {}{} · cut reads: {} · damaged files: {} · {} MiB free",
            spool.pages,
            spool
                .oldest_page_at
                .map_or(String::new(), |at| format!(", the oldest was read {}", ago(Some(at), snapshot.at))),
            spool.unknown,
            Alarming(spool.damaged),
            spool.free_bytes >> 20,
        )?,
    }
    let commits = &snapshot.page_commit;
    write!(
        page,
        "<p>From the last byte of a page to its commit: {:.0} ms for half of them, {:.0} ms for 99 of 100.\
         <p class=dim><a href=status>status as JSON</a> · <a href=metrics>metrics</a> · <a href=readyz>readiness</a></html>",
        commits.p50_seconds * 1000.0,
        commits.p99_seconds * 1000.0,
    )
}

/// A number that is highlighted unless it is 0.
struct Alarming(u64);

impl Display for Alarming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_char('0'),
            number => write!(f, "<span class=bad>{number}</span>"),
        }
    }
}

/// Text, escaped for HTML.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

fn ago(then: Option<Timestamp>, now: Timestamp) -> String {
    let Some(then) = then else { return "–".to_owned() };
    match u64::try_from(now.duration_since(then).as_secs()).unwrap_or(0) {
        0 => "now".to_owned(),
        seconds => format!("{} ago", span(seconds)),
    }
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::operate::admin::AdminState;
    use crate::operate::admin::health::{NotReady, Part};
    use crate::pipeline::counters::Counters;

    #[test]
    fn what_others_said_is_shown_as_text() {
        let mut snapshot = Snapshot::of(&AdminState::new(Arc::<Counters>::default()));
        snapshot.not_ready = vec![NotReady { what: Part::Broker, why: "<script>\"&".to_owned() }];
        assert!(render(&snapshot).contains("<li class=bad>Broker: &lt;script&gt;&quot;&amp;</ul>"));
    }

    #[test]
    fn the_page_fetches_nothing() {
        let page = render(&Snapshot::of(&AdminState::new(Arc::<Counters>::default())));
        for outside in ["http://", "https://", "src=", "<script", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
}
