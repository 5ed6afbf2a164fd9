//! The status page in HTML. It works without its script; the script only keeps it up to date, from the same sections.
//! Nothing is loaded from elsewhere, so that it works over a slow SSH tunnel.

mod html;
mod lanes;
mod recent;

use std::fmt::Write as _;

use self::html::{Escaped, Sentence, When, alarming, chart, number};
use super::AdminState;
use super::advice::Language;
use super::history::{STEP, STEPS, Sample};
use super::problem::{Problem, State};
use super::snapshot::{Snapshot, Store, Wanted};
use crate::order::ids::StoreName;
use crate::pipeline::counters::RecentOrder;

pub(super) const STYLE: &str = include_str!("page/status.css");
pub(super) const SCRIPT: &str = include_str!("page/status.js");

/// How many stores that are not well are shown. Whoever has more of them has one cause to look for.
const NOT_WELL: usize = 30;
/// How many found stores are shown.
const FOUND: usize = 50;
/// Up to this many stores are shown without a search.
const FEW: u64 = 20;

/// What a person sees at one time.
pub(super) struct View {
    language: Language,
    snapshot: Snapshot,
    not_well: Vec<(StoreName, Store)>,
    /// The charts' captions and values.
    charts: [(String, Vec<u64>); 4],
    /// What was published last, the newest first.
    recent: Vec<RecentOrder>,
    wanted: Wanted,
}

impl View {
    /// It reads the spool's folder, so don't call it on a thread of the async runtime.
    pub(super) fn of(admin: &AdminState, wanted: Wanted, language: Language) -> Self {
        let asked = Wanted { limit: Some(FOUND), ..wanted.clone() };
        let snapshot = Snapshot::of(admin, &asked, language);
        let worst = |state| {
            let wanted = Wanted { state: Some(state), limit: Some(NOT_WELL), ..Wanted::default() };
            Snapshot::of(admin, &wanted, language).stores.into_iter().filter(move |(_, store)| store.state == state)
        };
        let not_well = if snapshot.totals.not_well == 0 {
            Vec::new()
        } else {
            State::TROUBLES.into_iter().flat_map(worst).take(NOT_WELL).collect()
        };
        let recent = admin.counters.recent.newest_first();
        Self { charts: charts(admin, language), recent, snapshot, not_well, language, wanted }
    }

    pub(super) fn title(&self) -> String {
        let Snapshot { ready, totals, .. } = &self.snapshot;
        match (ready, totals.not_well) {
            (false, _) => self.say("not ready · imotriz-kafka", "no está listo · imotriz-kafka").to_owned(),
            (true, 0) => self.say("ready · imotriz-kafka", "listo · imotriz-kafka").to_owned(),
            (true, some) => format!("{some} ✗ · imotriz-kafka"),
        }
    }

    /// The parts that change, by the IDs of their elements.
    pub(super) fn sections(&self) -> [(&'static str, String); 8] {
        [
            ("state", self.state()),
            ("not-well", self.not_well()),
            ("figures", self.figures()),
            ("recent", self.recent()),
            ("found", self.found()),
            ("account", self.account()),
            ("lanes", self.lanes()),
            ("spool", self.spool()),
        ]
    }

    /// The whole page.
    pub(super) fn page(&self) -> String {
        let [state, not_well, figures, recent, found, account, lanes, spool] =
            self.sections().map(|(id, html)| format!("<section id={id}>{html}</section>"));
        let (tag, other) = match self.language {
            Language::English => ("en", "<a href=\"?lang=es\" lang=es hreflang=es>Español</a>"),
            Language::Spanish => ("es", "<a href=\"?lang=en\" lang=en hreflang=en>English</a>"),
        };
        format!(
            "<!doctype html><html lang={tag}><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
             <title>{title}</title><link rel=stylesheet href=status.css><script src=status.js defer></script></head><body>\
             <p id=lost role=alert hidden>{lost}</p><header><h1>imotriz-kafka</h1>{other}</header>\
             <main>{state}{not_well}{figures}{recent}<section><h2 id=stores>{stores}</h2>{form}</section>{found}{account}{lanes}\
             {spool}</main><footer><a href=status>{json}</a> <a href=metrics>{metrics}</a> <a href=readyz>{readiness}</a>\
             </footer></body></html>",
            title = self.title(),
            lost =
                self.say("The connection is lost: what you see is old.", "Se perdió la conexión: lo que ve es viejo."),
            stores = self.say("Shops", "Tiendas"),
            form = self.form(),
            json = self.say("status as JSON", "estado en JSON"),
            metrics = self.say("metrics", "métricas"),
            readiness = self.say("readiness", "disponibilidad"),
        )
    }

    fn say(&self, english: &'static str, spanish: &'static str) -> &'static str {
        match self.language {
            Language::English => english,
            Language::Spanish => spanish,
        }
    }

    fn number(&self, value: u64) -> String {
        number(self.language, value)
    }

    fn state(&self) -> String {
        let Snapshot { ready, not_ready, totals, version, started_at, .. } = &self.snapshot;
        let (class, word) = match ready {
            true => ("good", self.say("ready", "listo")),
            false => ("bad", self.say("not ready", "no está listo")),
        };
        let (well, not_well) = (self.number(totals.well), self.number(totals.not_well));
        let stores = match (self.language, totals.not_well) {
            (Language::English, 0) => format!("all {well} shops are well"),
            (Language::English, _) => format!("<span class=bad>{not_well} not well</span>, {well} shops are well"),
            (Language::Spanish, 0) => format!("las {well} tiendas están bien"),
            (Language::Spanish, _) => {
                format!("<span class=bad>{not_well} con problemas</span>, {well} tiendas están bien")
            }
        };
        let reasons =
            not_ready.iter().map(|part| format!("<li><span class=bad>{:?}</span>: {}", part.what, Sentence(&part.why)));
        let reasons: String = reasons.collect();
        let reasons = if reasons.is_empty() { reasons } else { format!("<ul class=cards>{reasons}</ul>") };
        format!(
            "<p role=status><strong class={class}>{word}</strong> · {stores}</p>{reasons}<p class=dim>{} {version} · {} {}</p>",
            self.say("version", "versión"),
            self.say("started", "iniciado"),
            When(Some(*started_at)),
        )
    }

    fn not_well(&self) -> String {
        if self.not_well.is_empty() {
            return String::new();
        }
        let title = self.say("Not well", "Con problemas");
        let cards: String = self.not_well.iter().map(|(name, store)| self.card(name, store)).collect();
        let more = self.snapshot.totals.not_well.saturating_sub(self.not_well.len() as u64);
        let more = match more {
            0 => String::new(),
            more => format!(
                "<p><a href=\"?state=not_well&amp;lang={}#stores\">{} {}</a></p>",
                self.language.tag(),
                self.number(more),
                self.say("more are not well", "más tienen problemas")
            ),
        };
        format!("<h2>{title}</h2><ul class=cards>{cards}</ul>{more}")
    }

    fn card(&self, name: &StoreName, store: &Store) -> String {
        let mut card = String::from("<li>");
        for Problem { state, reason, cure, since, last_tried_at, .. } in &store.problems {
            // Writing to a `String` can't fail.
            write!(
                card,
                "<h3>{name} {}: {}</h3><p>→ {}</p><p class=dim>{} {}{}</p>",
                self.state_of(*state),
                Sentence(reason),
                Sentence(cure),
                self.say("since", "desde"),
                When(Some(*since)),
                last_tried_at.map_or(String::new(), |at| format!(
                    " · {} {}",
                    self.say("last tried", "último intento"),
                    When(Some(at))
                )),
            )
            .unwrap_or_default();
        }
        card + "</li>"
    }

    /// How a store's name goes on.
    fn state_of(&self, state: State) -> &'static str {
        match state {
            State::Parked | State::NotRead => self.say("is not read", "no se lee"),
            State::Late => self.say("is late", "está atrasada"),
            State::Unaccounted => self.say("may have lost orders", "puede haber perdido pedidos"),
            State::NotReconciled => self.say("is not reconciled", "no se reconcilia"),
            State::NotWell => self.say("is not well", "tiene problemas"),
            State::Well => self.say("is well", "está bien"),
        }
    }

    fn figures(&self) -> String {
        let totals = &self.snapshot.totals;
        let (counts, gauges) = (&totals.counts, &totals.gauges);
        let plain = |value| self.number(value);
        let alarm = |value| alarming(self.language, value);
        let figures = [
            (self.say("pending", "pendientes"), plain(gauges.pending)),
            (self.say("published since the start", "publicadas desde el inicio"), plain(counts.published.total())),
            (self.say("dead letters", "dead letters"), alarm(counts.dead_letters)),
            (self.say("refused reads", "lecturas rechazadas"), plain(counts.refused.total())),
            (self.say("cut reads", "lecturas cortadas"), plain(counts.unknown_reads)),
            (self.say("unaccounted", "sin justificar"), alarm(gauges.unaccounted_orders)),
            (self.say("oldest good read", "lectura más antigua"), When(gauges.last_good_read_at).to_string()),
            (
                self.say("oldest reconciliation", "reconciliación más antigua"),
                When(gauges.last_reconcile_at).to_string(),
            ),
        ];
        let figures: String =
            figures.map(|(name, value)| format!("<div><dt>{name}</dt><dd>{value}</dd></div>")).concat();
        let charts: String = self.charts.iter().map(|(caption, values)| chart(caption, values, STEPS)).collect();
        let title = self.say("The last hour", "La última hora");
        format!("<dl class=figures>{figures}</dl><h2>{title}</h2><div class=charts>{charts}</div>")
    }

    fn form(&self) -> String {
        let any = self.say("any", "cualquiera");
        let words = [
            (State::NotWell, self.say("not well", "con problemas")),
            (State::Parked, self.say("parked", "en pausa")),
            (State::NotRead, self.say("not read", "no se lee")),
            (State::Late, self.say("late", "atrasada")),
            (State::Unaccounted, self.say("unaccounted", "sin justificar")),
            (State::NotReconciled, self.say("not reconciled", "no reconciliada")),
            (State::Well, self.say("well", "bien")),
        ];
        let options: String = words
            .map(|(state, word)| {
                let selected = if self.wanted.state == Some(state) { " selected" } else { "" };
                format!("<option value={}{selected}>{word}</option>", state.word())
            })
            .concat();
        format!(
            "<form role=search><div><label for=search>{}</label><input id=search name=search type=search value=\"{}\" \
             autocomplete=off spellcheck=false></div><div><label for=in-state>{}</label><select id=in-state name=state>\
             <option value=\"\">{any}</option>{options}</select></div><input type=hidden name=lang value={}>\
             <button>{}</button></form>",
            self.say("name contains", "el nombre contiene"),
            Escaped(self.wanted.search.as_deref().unwrap_or_default()),
            self.say("state", "estado"),
            self.language.tag(),
            self.say("Search", "Buscar"),
        )
    }

    fn found(&self) -> String {
        let Snapshot { stores, stores_found, next_after, totals, .. } = &self.snapshot;
        if !self.wanted.is_narrowed() && totals.stores > FEW {
            return String::new();
        }
        let rows = stores.iter().map(|(name, store)| {
            let class = if store.state == State::Well { "good" } else { "bad" };
            format!(
                "<tr><th scope=row>{name}</th><td class={class}>{}</td><td>{}</td><td>{}</td><td class=wide>{}</td>\
                 <td class=wide>{}</td><td class=wide>{}</td></tr>",
                self.state_of(store.state),
                self.number(store.gauges.pending),
                When(store.gauges.last_good_read_at),
                When(store.gauges.last_reconcile_at),
                self.number(store.counts.published.total()),
                alarming(self.language, store.counts.dead_letters),
            )
        });
        let head = [
            (self.say("shop", "tienda"), ""),
            (self.say("state", "estado"), ""),
            (self.say("pending", "pendientes"), ""),
            (self.say("last read", "última lectura"), ""),
            (self.say("reconciled", "reconciliada"), " class=wide"),
            (self.say("published", "publicadas"), " class=wide"),
            (self.say("dead letters", "dead letters"), " class=wide"),
        ];
        let caption = format!("{} {}", self.number(*stores_found), self.say("found", "encontradas"));
        let next = next_after.as_ref().map_or(String::new(), |after| {
            let state = self.wanted.state.map_or("", State::word);
            let search = self.wanted.search.as_deref().unwrap_or_default();
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("search", search).append_pair("state", state).append_pair("lang", self.language.tag());
            let query = query.append_pair("after", after.as_str()).finish();
            format!(
                "<p><a href=\"?{}#stores\">{}</a></p>",
                Escaped(&query),
                self.say("the next ones", "las siguientes")
            )
        });
        table(&caption, &head, rows.collect()) + &next
    }

    fn account(&self) -> String {
        let losses = self.not_well.iter().flat_map(|(_, store)| &store.account);
        let rows: String = losses
            .map(|entry| {
                format!(
                    "<tr><th scope=row>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=wide>{}</td></tr>",
                    entry.store,
                    Escaped(&entry.marked.to_string()),
                    self.number(entry.found),
                    Escaped(&entry.open.to_string()),
                    self.number(entry.hours_left(self.snapshot.at)),
                    Escaped(&entry.reason),
                )
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let head = [
            (self.say("shop", "tienda"), ""),
            (self.say("marked", "marcadas"), ""),
            (self.say("found", "encontradas"), ""),
            (self.say("missing", "faltan"), ""),
            (self.say("hours left", "horas restantes"), ""),
            (self.say("why", "por qué"), " class=wide"),
        ];
        let title = self.say("Account of cut reads", "Cuenta de lecturas cortadas");
        format!("<h2>{title}</h2>{}", table(title, &head, rows))
    }

    fn spool(&self) -> String {
        let mut text = String::from("<h2>Spool</h2>");
        let Some(spool) = &self.snapshot.spool else {
            return text
                + "<p class=dim>"
                + self.say("not looked at yet, or it can't be", "aún no se ha mirado, o no se puede")
                + "</p>";
        };
        let commits = &self.snapshot.page_commit;
        // Writing to a `String` can't fail.
        write!(
            text,
            "<p>{} {} · {} {} · {} {} · {} MiB {}</p><p>{} {:.0} ms (p50), {:.0} ms (p99)</p>",
            self.say("pages that wait:", "páginas en espera:"),
            self.number(spool.pages),
            self.say("the oldest was read", "la más antigua se leyó"),
            When(spool.oldest_page_at),
            self.say("damaged:", "dañadas:"),
            alarming(self.language, spool.damaged),
            self.number(spool.free_bytes >> 20),
            self.say("free", "libres"),
            self.say("from the last byte of a page to its commit:", "del último byte de una página a su commit:"),
            commits.p50_seconds * 1000.0,
            commits.p99_seconds * 1000.0,
        )
        .unwrap_or_default();
        text
    }
}

fn table(caption: &str, head: &[(&str, &str)], rows: String) -> String {
    let head: String = head.iter().map(|(name, class)| format!("<th scope=col{class}>{name}</th>")).collect();
    format!(
        "<div class=scroll role=region tabindex=0 aria-label=\"{caption}\"><table><caption class=dim>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )
}

fn charts(admin: &AdminState, language: Language) -> [(String, Vec<u64>); 4] {
    let history = &admin.history;
    let per_minute = 60 / STEP.as_secs();
    let rate = |name: &str, values: Vec<u64>| {
        let (now, most) = (values.last().copied().unwrap_or(0), values.iter().copied().max().unwrap_or(0));
        let [now, most] = [now, most].map(|value| number(language, value * per_minute));
        let caption = match language {
            Language::English => format!("{name} a minute: {now} now, {most} at most"),
            Language::Spanish => format!("{name} por minuto: {now} ahora, {most} como máximo"),
        };
        (caption, values)
    };
    let [published, read, failed, pending] = match language {
        Language::English => ["published", "read", "failed reads", "pending"],
        Language::Spanish => ["publicadas", "leídas", "lecturas fallidas", "pendientes"],
    };
    let waiting = history.values(|sample: &Sample| sample.pending);
    let now = number(language, waiting.last().copied().unwrap_or(0));
    [
        rate(published, history.increases(|sample| sample.published)),
        rate(read, history.increases(|sample| sample.read)),
        rate(failed, history.increases(|sample| sample.failed)),
        (format!("{pending}: {now}"), waiting),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::operate::admin::health::{NotReady, Part};
    use crate::pipeline::counters::Counters;

    fn admin(stores: usize) -> AdminState {
        let admin = AdminState::new(Arc::<Counters>::default());
        let names: Vec<StoreName> = (0..stores).map(|number| format!("s{number}").parse().unwrap()).collect();
        admin.counters.set_stores(&names);
        admin
    }

    fn view(admin: &AdminState, wanted: Wanted, language: Language) -> View {
        View::of(admin, wanted, language)
    }

    #[test]
    fn what_others_said_is_shown_as_text() {
        let admin = admin(1);
        admin.counters.store(&"s0".parse().unwrap()).not_read.note("new", "<img src=x>".to_owned());
        let mut view =
            view(&admin, Wanted { search: Some("\"><b>".to_owned()), ..Wanted::default() }, Language::English);
        view.snapshot.not_ready = vec![NotReady { what: Part::Broker, why: "<script>\"&".to_owned() }];
        let page = view.page();
        for shown in ["&lt;script&gt;&quot;&amp;", "&lt;img src=x&gt;", "value=\"&quot;&gt;&lt;b&gt;\""] {
            assert!(page.contains(shown), "{shown}: {page}");
        }
    }

    #[test]
    fn the_page_fetches_nothing_from_elsewhere_and_has_no_inline_script_or_style() {
        let page = view(&admin(3), Wanted::default(), Language::English).page();
        for outside in ["http://", "https://", "url(", "@import", "<style", "style=", "onclick", "<script>"] {
            assert!(!page.contains(outside) && !STYLE.contains("url("), "{outside}");
        }
        assert!(!SCRIPT.contains("http") && !SCRIPT.contains("eval("));
    }

    #[test]
    fn what_is_not_well_comes_first_with_reason_and_cure_and_the_rest_is_a_number() {
        let admin = admin(10_000);
        let store = admin.counters.store(&"s4711".parse().unwrap());
        store.not_read.note("token_refused", "a long sentence".to_owned());
        let page = view(&admin, Wanted::default(), Language::English).page();
        let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        let reason = at("s4711 is not read: the marketplace does not accept the token (401)");
        assert!(at("1 not well") < reason && reason < at("generate one in the shop's settings"));
        assert!(
            page.contains("9,999 shops are well") && !page.contains("s4712") && page.len() < 20_000,
            "{}",
            page.len()
        );
        let spanish = view(&admin, Wanted::default(), Language::Spanish).page();
        assert!(spanish.contains("s4711 no se lee: el marketplace no acepta el token (401)"), "{spanish}");
        assert!(spanish.contains("9\u{202f}999 tiendas están bien"));
        let found =
            view(&admin, Wanted { search: Some("s471".to_owned()), ..Wanted::default() }, Language::English).page();
        assert!(found.contains("11 found") && found.find(">s471<") < found.find(">s4710<"), "{found}");
    }
}
