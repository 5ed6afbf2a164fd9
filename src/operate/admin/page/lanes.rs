//! The sections of the status page about lanes, and about the instances that share them.

use super::html::{Escaped, When, alarming};
use super::{View, table};
use crate::operate::instances::{Group, Instance};

impl View {
    pub(super) fn lanes(&self) -> String {
        let lanes = &self.snapshot.lanes;
        let ready = lanes.values().filter(|lane| lane.state == "ready").count();
        let rows = lanes.iter().map(|(number, lane)| {
            let class = if lane.state == "ready" { "good" } else { "bad" };
            format!(
                "<tr><th scope=row>{number}</th><td class={class}>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td class=wide>{}</td><td class=wide>{}</td></tr>",
                lane.state,
                When(lane.since),
                self.number(lane.stores),
                self.number(lane.pages),
                self.number(lane.index_orders),
                When(lane.last_commit_at),
                self.number(lane.committed),
                alarming(self.language, lane.failed),
            )
        });
        let head = [
            ("lane", ""),
            (self.say("state", "estado"), ""),
            (self.say("since", "desde"), ""),
            (self.say("shops", "tiendas"), ""),
            (self.say("pages to publish", "páginas por publicar"), ""),
            (self.say("orders in its index", "pedidos en su índice"), ""),
            (self.say("last commit", "último commit"), ""),
            (self.say("transactions", "transacciones"), " class=wide"),
            (self.say("failed", "fallidas"), " class=wide"),
        ];
        format!(
            "<h2>Lanes</h2><details><summary>{ready} / {} {}</summary>{}</details>{}",
            lanes.len(),
            self.say("ready", "listas"),
            table("Lanes", &head, rows.collect()),
            self.group(),
        )
    }

    /// All instances, as Kafka knows them.
    fn group(&self) -> String {
        let title = self.say("Instances", "Instancias");
        let group = match &self.snapshot.group {
            None => return String::new(),
            Some(Group::Unknown { why }) => {
                let why = Escaped(why);
                return format!(
                    "<h2>{title}</h2><p class=bad>{}: {why}",
                    self.say("Kafka does not tell", "Kafka no lo dice")
                );
            }
            Some(Group::Known(group)) => group,
        };
        let rows = group.instances.iter().map(|Instance { name, host, lanes, stores }| {
            let (lanes, stores) = (numbers(lanes), self.number(*stores as u64));
            format!(
                "<tr><th scope=row>{}</th><td>{}</td><td>{lanes}</td><td>{stores}</td></tr>",
                Escaped(name),
                Escaped(host)
            )
        });
        let head = [
            (self.say("instance", "instancia"), ""),
            (self.say("address", "dirección"), ""),
            ("lanes", ""),
            (self.say("shops", "tiendas"), ""),
        ];
        let unowned = match group.unowned_lanes.as_slice() {
            [] => String::new(),
            lanes => {
                let nobody = self.say("Lanes of nobody at the moment", "Lanes de nadie en este momento");
                format!("<p class=bad>{nobody}: {}", numbers(lanes))
            }
        };
        format!("<h2>{title}</h2>{}{unowned}", table(title, &head, rows.collect()))
    }
}

fn numbers(lanes: &[i32]) -> String {
    lanes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
