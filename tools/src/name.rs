//! Names on the command line: BUS/TOPIC[/PARTITION].

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};
use tickcast::{Bus, Topic};

/// A topic, or one of its partitions. Whether the names can exist is for the library to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bus: String,
    pub(crate) topic: String,
    pub(crate) partition: Option<u32>,
}

impl Address {
    /// Opens the topic.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub(crate) fn open(&self) -> Result<Topic> {
        let bus = Bus::open(&self.bus).with_context(|| format!("cannot open bus {}", self.bus))?;
        bus.open_topic(&self.topic).with_context(|| format!("cannot open topic {self}"))
    }

    /// The topic's name without a partition.
    pub(crate) fn topic_name(&self) -> String {
        format!("{}/{}", self.bus, self.topic)
    }

    /// The topic, or the partition where none is named but `partition` is meant.
    pub(crate) fn with_partition(&self, partition: u32) -> Self {
        Self { partition: Some(partition), ..self.clone() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.topic)?;
        self.partition.map_or(Ok(()), |partition| write!(f, "/{partition}"))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "give BUS/TOPIC or BUS/TOPIC/PARTITION, such as md/trades".to_owned();
        let mut parts = text.split('/');
        let mut name = || parts.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let (bus, topic) = (name().ok_or_else(wrong)?, name().ok_or_else(wrong)?);
        let partition = match parts.next() {
            None => None,
            Some(number) => Some(number.parse().map_err(|_| {
                format!("{number} is no partition: give a number from 0, such as {bus}/{topic}/0")
            })?),
        };
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { bus, topic, partition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for (text, partition) in [("md/trades", None), ("md/trades/12", Some(12))] {
            let address: Address = text.parse().unwrap();
            assert_eq!((&*address.bus, &*address.topic), ("md", "trades"));
            assert_eq!(address.partition, partition);
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        for text in ["", "md", "md/", "/trades", "md/trades/", "md/trades/x", "md/trades/0/1"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
