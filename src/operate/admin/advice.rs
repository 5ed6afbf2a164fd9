//! What to tell a person of a problem, by its kind, in each language of the status page.
//!
//! Words stand for what the pipeline and the marketplace call things. A kind that is not in the table is told in the
//! pipeline's own sentence.

use serde::Deserialize;

/// A language of the status page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum Language {
    #[default]
    #[serde(rename = "en")]
    English,
    #[serde(rename = "es")]
    Spanish,
}

/// A kind of problem.
struct Advice {
    kind: &'static str,
    english: Told,
    spanish: Told,
}

struct Told {
    /// Empty: the pipeline's own sentence is the reason.
    reason: &'static str,
    cure: &'static str,
}

#[rustfmt::skip]
const ADVICE: &[Advice] = &[
    Advice { kind: "token_refused",
        english: Told { reason: "the marketplace does not accept the token (401)",
            cure: "a newer one voids the older ones: generate one in the shop's settings and put it into the store's `token_file`; it is read again without a restart" },
        spanish: Told { reason: "el marketplace no acepta el token (401)",
            cure: "un token más nuevo anula los anteriores: genere uno en la configuración de la tienda y escríbalo en su `token_file`; se vuelve a leer sin reiniciar" } },
    Advice { kind: "no_start_date",
        english: Told { reason: "the marketplace has no start date for this shop (403)",
            cure: "set \"synchronise orders from\" in the shop's settings, at most 30 days back" },
        spanish: Told { reason: "el marketplace no tiene fecha de inicio para esta tienda (403)",
            cure: "indique desde cuándo se sincronizan los pedidos en la configuración de la tienda, como máximo 30 días atrás" } },
    Advice { kind: "refused",
        english: Told { reason: "", cure: "see the heading 403 of the runbook; `imotriz-kafka doctor` tells who refuses" },
        spanish: Told { reason: "la lectura es rechazada, por el marketplace o por algo delante de él",
            cure: "vea el apartado 403 del runbook; `imotriz-kafka doctor` dice quién rechaza" } },
    Advice { kind: "certificate",
        english: Told { reason: "", cure: "see that `base_url` is right and that the certificate is trusted: `api.ca_file` names further authorities" },
        spanish: Told { reason: "el certificado del marketplace no es de confianza",
            cure: "revise `base_url` y que el certificado sea de confianza: `api.ca_file` indica otras autoridades" } },
    Advice { kind: "unreachable",
        english: Told { reason: "", cure: "check the network and the store's `base_url`; orders wait on the marketplace, and it is tried again by itself" },
        spanish: Told { reason: "no se llega al marketplace",
            cure: "revise la red y `base_url`; los pedidos esperan en el marketplace, y se reintenta solo" } },
    Advice { kind: "busy",
        english: Told { reason: "", cure: "nothing: it goes on by itself. If it lasts, let the marketplace raise the limit" },
        spanish: Told { reason: "el marketplace pide paciencia (429)",
            cure: "nada: continúa solo. Si dura, pida al marketplace un límite mayor" } },
    Advice { kind: "nothing_handed_over",
        english: Told { reason: "", cure: "tell the marketplace if it lasts; it is tried again by itself" },
        spanish: Told { reason: "el marketplace dice que hay pedidos pendientes y no entrega ninguno",
            cure: "avise al marketplace si dura; se reintenta solo" } },
    Advice { kind: "token_unreadable",
        english: Told { reason: "", cure: "correct the store's `token_file`: the program must be able to read it" },
        spanish: Told { reason: "no se puede leer el token",
            cure: "corrija el `token_file` de la tienda: el programa tiene que poder leerlo" } },
    Advice { kind: "unknown",
        english: Told { reason: "", cure: "nothing at once: what such a read marked comes back by reconciling. If it lasts, look at the network and at what stands before the marketplace" },
        spanish: Told { reason: "una lectura se cortó y no se sabe qué marcó",
            cure: "nada por ahora: lo que esa lectura marcó vuelve al reconciliar. Si dura, revise la red y lo que haya delante del marketplace" } },
    Advice { kind: "this_machine",
        english: Told { reason: "", cure: "see the spool's disk: `imotriz-kafka doctor`" },
        spanish: Told { reason: "el disco del spool falla", cure: "revise el disco del spool: `imotriz-kafka doctor`" } },
    Advice { kind: "no_list",
        english: Told { reason: "the marketplace has no list of order IDs where `api.paths.order_ids` says (404)",
            cure: "set `api.paths.order_ids` as the marketplace documents it: until then a page that is lost on the way stays lost" },
        spanish: Told { reason: "el marketplace no tiene la lista de pedidos donde dice `api.paths.order_ids` (404)",
            cure: "ponga en `api.paths.order_ids` la ruta que documenta el marketplace: hasta entonces, una página perdida sigue perdida" } },
    Advice { kind: "list_not_whole",
        english: Told { reason: "", cure: "set `api.list_page_parameter` if the marketplace gives the list in pages" },
        spanish: Told { reason: "la lista de pedidos no está completa",
            cure: "ponga `api.list_page_parameter` si el marketplace da la lista por páginas" } },
    Advice { kind: "list_failed",
        english: Told { reason: "", cure: "`imotriz-kafka reconcile` tries at once and says what is wrong" },
        spanish: Told { reason: "no se obtiene la lista de pedidos",
            cure: "`imotriz-kafka reconcile` lo intenta ya y dice qué falla" } },
    Advice { kind: "orders_failed",
        english: Told { reason: "", cure: "nothing at once: the next pass fetches them again" },
        spanish: Told { reason: "no se obtuvieron todos los pedidos que faltan",
            cure: "nada por ahora: la próxima pasada los vuelve a pedir" } },
    Advice { kind: "late",
        english: Told { reason: "no read has succeeded for long, although none has failed: it hangs, or waits for Kafka or for its turn",
            cure: "see whether the lanes are ready and the marketplace answers: `imotriz-kafka doctor`" },
        spanish: Told { reason: "hace mucho que ninguna lectura termina bien, y ninguna ha fallado: está colgada, o espera a Kafka o su turno",
            cure: "vea si las lanes están listas y si el marketplace responde: `imotriz-kafka doctor`" } },
    Advice { kind: "unaccounted",
        english: Told { reason: "", cure: "run `imotriz-kafka reconcile`; what is missing after that has to be un-synchronised in the shop: see the runbook, \"Orders are unaccounted for\"" },
        spanish: Told { reason: "", cure: "ejecute `imotriz-kafka reconcile`; lo que siga faltando hay que desincronizarlo en la tienda: vea el runbook, «Hay pedidos sin justificar»" } },
];

/// The reason and the cure of a problem. `why`: the pipeline's own sentence.
#[must_use]
pub fn advice(kind: &str, why: &str, language: Language) -> (String, &'static str) {
    let Some(Advice { english, spanish, .. }) = ADVICE.iter().find(|advice| advice.kind == kind) else {
        return (why.to_owned(), language.look_at_doctor());
    };
    let told = match language {
        Language::English => english,
        Language::Spanish => spanish,
    };
    let reason = match (told.reason, english.reason) {
        ("", _) => why.to_owned(),
        // What exactly happened is not translated.
        (reason, "") => format!("{reason}: {why}"),
        (reason, _) => reason.to_owned(),
    };
    (reason, told.cure)
}

impl Language {
    fn look_at_doctor(self) -> &'static str {
        match self {
            Self::English => "`imotriz-kafka doctor` looks for the cause",
            Self::Spanish => "`imotriz-kafka doctor` busca la causa",
        }
    }

    /// The reason of unaccounted orders.
    pub(super) fn unaccounted(self, orders: u64, hours: u64) -> String {
        match self {
            Self::English => {
                format!(
                    "{orders} orders were marked by cut reads and are not published; the list shows them for {hours} more hours"
                )
            }
            Self::Spanish => {
                format!(
                    "{orders} pedidos fueron marcados por lecturas cortadas y no están publicados; la lista los muestra {hours} horas más"
                )
            }
        }
    }

    /// The language of `Accept-Language` that is preferred: Spanish if it stands before English.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let weight = |wanted: &str| {
            let languages = accept.split(',').filter_map(|part| {
                let mut parts = part.trim().split(';');
                let tag = parts.next()?.trim().to_ascii_lowercase();
                let quality = parts.find_map(|it| it.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
                (tag.split('-').next() == Some(wanted)).then_some(quality)
            });
            languages.fold(0.0, f32::max)
        };
        let (spanish, english) = (weight("es"), weight("en"));
        let first = |tag: &str| accept.to_ascii_lowercase().find(tag);
        let is_first = first("es").is_some_and(|es| first("en").is_none_or(|en| es < en));
        if spanish > english || (spanish == english && spanish > 0.0 && is_first) {
            Self::Spanish
        } else {
            Self::English
        }
    }

    /// The tag of HTML.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Spanish => "es",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_browser_chooses_the_language() {
        for (accept, language) in [
            ("", Language::English),
            ("de", Language::English),
            ("es", Language::Spanish),
            ("es-CO,es;q=0.9,en;q=0.8", Language::Spanish),
            ("en-US,en;q=0.9,es;q=0.8", Language::English),
            ("en;q=0.5, es-MX;q=0.7", Language::Spanish),
            ("de,es,en", Language::Spanish),
            ("es;q=0", Language::English),
        ] {
            assert_eq!(Language::preferred(accept), language, "{accept}");
        }
    }

    #[test]
    fn what_is_not_in_the_table_is_told_in_the_pipelines_words() {
        assert_eq!(advice("new_kind", "so it is", Language::English).0, "so it is");
        assert!(advice("unreachable", "no route", Language::Spanish).0.ends_with("marketplace: no route"));
        assert!(advice("token_refused", "the whole sentence", Language::English).0.ends_with("(401)"));
    }

    #[test]
    fn every_kind_has_a_cure_in_both_languages() {
        for Advice { kind, english, spanish } in ADVICE {
            assert!(!english.cure.is_empty() && !spanish.cure.is_empty(), "{kind}");
            assert_eq!(
                english.cure.matches('`').count(),
                spanish.cure.matches('`').count(),
                "{kind}: commands and keys"
            );
        }
    }
}
