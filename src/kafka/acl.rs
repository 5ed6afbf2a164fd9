//! Permissions on a cluster with an authoriser: what this user lacks, in words that an administrator can act on.

use std::fmt;

/// What has to be allowed to this user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// As the broker names the user, where the settings tell.
    pub(super) principal: Option<String>,
    pub(super) operations: &'static [&'static str],
    pub(super) resource: Resource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    Topics(Vec<String>),
    /// All that begin with this.
    TransactionalIds(String),
    Cluster,
}

impl Acl {
    /// librdkafka's name of the error by which a broker says that it is missing.
    pub(super) fn code(&self) -> &'static str {
        match self.resource {
            Resource::Topics(_) => "TopicAuthorizationFailed",
            Resource::TransactionalIds(_) => "TransactionalIdAuthorizationFailed",
            Resource::Cluster => "ClusterAuthorizationFailed",
        }
    }

    /// The command that gives it. Where to, and as whom, is the administrator's own matter.
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
            Resource::Cluster => command += " --cluster",
        }
        command
    }
}

/// Who needs what.
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
            Resource::Cluster => f.write_str("the cluster"),
        }
    }
}
