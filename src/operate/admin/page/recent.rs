//! The section of the status page about the orders that this instance published last.

use super::View;
use super::html::{Escaped, When, money};
use crate::pipeline::counters::RecentOrder;

impl View {
    /// A list rather than a table, so that an order has two lines on a phone. No screen reader announces what comes in.
    pub(super) fn recent(&self) -> String {
        if self.recent.is_empty() {
            return String::new();
        }
        let title = self.say("Published lately", "Publicadas hace poco");
        let orders: String = self.recent.iter().map(|order| self.recent_order(order)).collect();
        format!(
            "<h2>{title}</h2><div class=\"scroll feed\" role=region tabindex=0 aria-label=\"{title}\" aria-live=off>\
             <ol>{orders}</ol></div>"
        )
    }

    /// With the event's key, so that the script can tell a new order from one that has moved down.
    fn recent_order(&self, order: &RecentOrder) -> String {
        let RecentOrder { store, order_id, revision, reason, total, currency, published_at } = order;
        let order_id = Escaped(order_id.as_str());
        let total = total.map_or("–".to_owned(), |total| money(self.language, currency, total));
        format!(
            "<li data-key=\"{store}/{order_id}/{revision}\"><span><strong>{order_id}</strong> {store}</span> \
             <span>{}</span> <span class=dim>{} · rev. {revision}</span> <span class=dim>{}</span></li>",
            Escaped(&total),
            reason.as_str(),
            When(Some(*published_at)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rust_decimal::Decimal;

    use super::*;
    use crate::avro::event::{Reason, Revision};
    use crate::operate::admin::AdminState;
    use crate::operate::admin::advice::Language;
    use crate::operate::admin::snapshot::Wanted;
    use crate::order::amount::Amount;
    use crate::pipeline::counters::Counters;

    fn order(id: &str, total: Option<&str>) -> RecentOrder {
        let amount = |text: &str| Amount::try_from(text.parse::<Decimal>().unwrap()).unwrap();
        RecentOrder {
            store: "bogota".parse().unwrap(),
            order_id: id.parse().unwrap(),
            revision: Revision::FIRST.next().unwrap(),
            reason: Reason::Resynced,
            total: total.map(amount),
            currency: "COP".to_owned(),
            published_at: "2026-11-28T10:00:00Z".parse().unwrap(),
        }
    }

    fn shown(language: Language, orders: Vec<RecentOrder>) -> String {
        let admin = AdminState::new(Arc::<Counters>::default());
        admin.counters.recent.note(orders);
        View::of(&admin, Wanted::default(), language).recent()
    }

    #[test]
    fn the_newest_order_comes_first_with_its_exact_total() {
        let orders = vec![order("1", None), order("2", Some("12345678.0001"))];
        let english = shown(Language::English, orders.clone());
        let at = |text: &str| english.find(text).unwrap_or_else(|| panic!("{text}: {english}"));
        assert!(at("<strong>2</strong> bogota") < at("<span>COP 12,345,678.0001</span>"));
        assert!(at("COP 12,345,678.0001") < at("<strong>1</strong> bogota"), "{english}");
        assert!(at("RESYNCED · rev. 2") < at("<time datetime=\"2026-11-28T10:00:00Z\">"));
        assert!(at("<strong>1</strong>") < at("<span>–</span>"));
        let spanish = shown(Language::Spanish, orders);
        assert!(spanish.contains("COP 12\u{202f}345\u{202f}678.0001"), "{spanish}");
    }

    #[test]
    fn an_id_that_looks_like_html_is_shown_as_text() {
        let html = shown(Language::English, vec![order("\"><img src=x onerror=a()>&", Some("1"))]);
        let escaped = "&quot;&gt;&lt;img src=x onerror=a()&gt;&amp;";
        assert!(html.contains(&format!("data-key=\"bogota/{escaped}/2\"><span><strong>{escaped}</strong>")), "{html}");
        assert!(!html.contains("<img"), "{html}");
    }

    #[test]
    fn nothing_is_said_of_orders_before_the_first() {
        assert_eq!(shown(Language::English, Vec::new()), "");
    }
}
