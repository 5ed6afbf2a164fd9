//! Permissions on a cluster with an authoriser: the ACLs that this user lacks, worded for an administrator.

use std::fmt;

/// An ACL that this user lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// The broker's name for the user, if the settings tell.
    pub(super) principal: Option<String>,
    pub(super) operations: &'static [&'static str],
    pub(super) resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Topics(Vec<String>),
    /// All IDs with this prefix.
    TransactionalIds(String),
    Group(String),
    Cluster,
}

impl Acl {
    /// librdkafka's name of the error with which a broker reports the missing ACL.
    pub(super) fn code(&self) -> &'static str {
        match self.resource {
            Resource::Topics(_) => "TopicAuthorizationFailed",
            Resource::TransactionalIds(_) => "TransactionalIdAuthorizationFailed",
            Resource::Group(_) => "GroupAuthorizationFailed",
            Resource::Cluster => "ClusterAuthorizationFailed",
        }
    }

    /// The command that grants the ACL. The administrator adds the address and credentials.
    #[must_use]
    pub fn command(&self) -> String {
        let principal = self.principal.as_deref().unwrap_or("User:NAME");
        let mut command = format!("kafka-acls.sh --add --allow-principal {principal}");
        for operation in self.operations {
            command += &format!(" --operation {operation}");
        }
        match &self.resource {
            Resource::Topics(topics) => topics.iter().for_each(|topic| command += &format!(" --topic {topic}")),
            Resource::TransactionalIds(prefix) => {
                command += &format!(" --transactional-id {prefix} --resource-pattern-type prefixed");
            }
            Resource::Group(group) => command += &format!(" --group {group}"),
            Resource::Cluster => command += " --cluster",
        }
        command
    }
}

/// Says who needs which ACL.
impl fmt::Display for Acl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.principal {
            Some(principal) => write!(f, "`{principal}`")?,
            None => f.write_str("this user")?,
        }
        write!(f, " needs the ACL {} on ", self.operations.join(" and "))?;
        match &self.resource {
            Resource::Topics(topics) => {
                let noun = if topics.len() == 1 { "topic" } else { "topics" };
                write!(f, "the {noun} `{}`", topics.join("`, `"))
            }
            Resource::TransactionalIds(prefix) => write!(f, "transactional IDs that begin with `{prefix}`"),
            Resource::Group(group) => write!(f, "the group `{group}`"),
            Resource::Cluster => f.write_str("the cluster"),
        }
    }
}
