//! The rule for names of buses, topics and their files.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

/// A name that is one harmless path component: 1 to 64 of `A-Z a-z 0-9 . _ -`, and neither hidden
/// (`.`) nor mistaken for an option (`-`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(String);

/// The longest name, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// Which rule a name breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// No characters at all.
    #[error("a name is empty: give it 1 to {NAME_BYTES_MAX} characters")]
    Empty,
    /// Too many.
    #[error("the name {0:?} has {len} bytes: shorten it to {NAME_BYTES_MAX}", len = .0.len())]
    TooLong(String),
    /// A first character that is kept for other uses.
    #[error("the name {0:?} begins with '.' or '-': begin it with a letter, a digit or '_'")]
    BadStart(String),
    /// A character that no name has.
    #[error("the name {name:?} contains {bad:?}: use letters, digits, '.', '_' and '-' only")]
    BadCharacter {
        /// The name.
        name: String,
        /// The first such character in it.
        bad: char,
    },
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() {
            Err(NameError::Empty)
        } else if text.len() > NAME_BYTES_MAX {
            Err(NameError::TooLong(text.into()))
        } else if text.starts_with(['.', '-']) {
            Err(NameError::BadStart(text.into()))
        } else if let Some(bad) = text.chars().find(|c| !allowed(c)) {
            Err(NameError::BadCharacter { name: text.into(), bad })
        } else {
            Ok(Name(text.into()))
        }
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_broken_rule_is_named() {
        for good in ["a", "ES_F-2026.03", "_x", &"n".repeat(64)] {
            assert_eq!(&*good.parse::<Name>().unwrap(), good);
        }
        assert_eq!("".parse::<Name>(), Err(NameError::Empty));
        let long = "n".repeat(65);
        assert_eq!(long.parse::<Name>(), Err(NameError::TooLong(long)));
        for start in [".", "..", ".tmp", "-rf"] {
            assert_eq!(start.parse::<Name>(), Err(NameError::BadStart(start.into())));
        }
        for (name, bad) in [("a/b", '/'), ("a\0", '\0'), ("a b", ' '), ("naïve", 'ï')] {
            let error = NameError::BadCharacter { name: name.into(), bad };
            assert_eq!(name.parse::<Name>(), Err(error));
        }
    }
}
