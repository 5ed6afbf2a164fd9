//! The group of instances as its coordinator sees it: its members, and the lanes of each. Whoever may see the group can
//! ask, also where no instance runs.

use std::time::Duration;

use super::settings::Isolation;
use super::{Connection, Contact, KafkaFault};

/// A group at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupView {
    /// Kafka's word for the group's state, such as `Stable`; empty if there is no such group.
    pub state: String,
    /// In the order of their names.
    pub members: Vec<GroupMember>,
}

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its client ID, which is the instance's ID if it has one.
    pub name: String,
    /// The address from which it speaks to Kafka.
    pub host: String,
    pub lanes: Vec<i32>,
}

impl GroupView {
    /// Asks the cluster. Blocks for at most about `patience`.
    ///
    /// # Errors
    /// The cluster does not answer. A group that this user may not see looks like one that is not there.
    pub fn ask(connection: &Connection, group_id: &str, topic: &str, patience: Duration) -> Result<Self, KafkaFault> {
        let contact = Contact::open(connection, Isolation::Committed, "asking for the group of instances", patience)?;
        let answer = contact.group(group_id)?;
        let Some(group) = answer.groups().iter().find(|group| group.name() == group_id) else {
            return Ok(Self::default());
        };
        let members = group.members().iter().map(|member| GroupMember {
            name: member.client_id().to_owned(),
            host: member.client_host().trim_start_matches('/').to_owned(),
            lanes: assigned(member.assignment().unwrap_or_default(), topic).unwrap_or_default(),
        });
        let mut members: Vec<_> = members.collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self { state: group.state().to_owned(), members })
    }
}

/// The partitions of `topic` in a `ConsumerProtocolAssignment`: a version, then for each topic its name and its
/// partitions, then data that concern nobody else. `None` if it is cut off, as it is while the group moves partitions.
fn assigned(mut bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    let bytes = &mut bytes;
    let _version = take::<2>(bytes)?;
    let mut found = Vec::new();
    for _ in 0..i32::from_be_bytes(take(bytes)?) {
        let length = u16::from_be_bytes(take(bytes)?);
        let name = bytes.split_off(..usize::from(length))?;
        for _ in 0..i32::from_be_bytes(take(bytes)?) {
            let partition = i32::from_be_bytes(take(bytes)?);
            if name == topic.as_bytes() {
                found.push(partition);
            }
        }
    }
    found.sort_unstable();
    Some(found)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Kafka's own consumers encode it.
    fn assignment(topics: &[(&str, &[i32])]) -> Vec<u8> {
        let mut bytes = vec![0, 3];
        bytes.extend(i32::try_from(topics.len()).unwrap().to_be_bytes());
        for (name, partitions) in topics {
            bytes.extend(i16::try_from(name.len()).unwrap().to_be_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend(i32::try_from(partitions.len()).unwrap().to_be_bytes());
            partitions.iter().for_each(|partition| bytes.extend(partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn an_assignment_tells_the_partitions_of_the_topic_and_of_no_other() {
        let bytes = assignment(&[("other", &[0, 1]), ("tracking", &[4, 2]), ("tracking.v2", &[7])]);
        assert_eq!(assigned(&bytes, "tracking"), Some(vec![2, 4]));
        assert_eq!(assigned(&bytes, "third"), Some(vec![]));
        assert_eq!(assigned(&assignment(&[]), "tracking"), Some(vec![]));
    }

    #[test]
    fn an_assignment_that_is_cut_off_tells_nothing() {
        let bytes = assignment(&[("tracking", &[4, 2])]);
        for length in 0..bytes.len() - 4 {
            assert_eq!(assigned(&bytes[..length], "tracking"), None, "{length}");
        }
        let endless = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        assert_eq!(assigned(&endless, "tracking"), None);
    }
}
