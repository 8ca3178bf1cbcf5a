//! Addresses, and names from outside that are to become parts of addresses or paths.

use std::path::{Component, Path, PathBuf};

use ureq::http::Uri;

use crate::HubError;

/// Scheme, server and port: what a token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: String,
    pub(crate) host: String,
    port: u16,
}

impl Origin {
    /// Whether nobody on the way can read or change what is sent: it is encrypted, or stays on this machine.
    pub(crate) fn is_private(&self) -> bool {
        self.scheme == "https" || ["localhost", "127.0.0.1", "[::1]"].contains(&self.host.as_str())
    }
}

/// The parts of an address, which must be `http` or `https` and name a server and no user.
pub(crate) fn parse(address: &str) -> Result<(Uri, Origin), HubError> {
    let refused = |reason| HubError::Name { name: shown(address), reason };
    let uri: Uri = address.parse().map_err(|_| refused("is not an address"))?;
    let scheme = uri.scheme_str().unwrap_or_default().to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(refused("is not an address that begins with https:// or http://"));
    }
    let authority = uri.authority().ok_or_else(|| refused("names no server"))?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return Err(refused("names a user, or no server"));
    }
    let host = authority.host().to_ascii_lowercase();
    let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    Ok((uri, Origin { scheme, host, port }))
}

/// Where a redirect from `base` leads: absolute, from the root of the server, or beside the file.
pub(crate) fn join(base: &Uri, target: &str) -> String {
    if target.contains("://") {
        return target.to_owned();
    }
    let scheme = base.scheme_str().unwrap_or_default();
    let authority = base.authority().map(|authority| authority.as_str()).unwrap_or_default();
    if target.starts_with("//") {
        return format!("{scheme}:{target}");
    }
    let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    if target.starts_with('/') {
        format!("{scheme}://{authority}{target}")
    } else {
        format!("{scheme}://{authority}{folder}/{target}")
    }
}

/// An address as messages show it: without name and password, and what follows the `?` may be a signature, which is as good
/// as a password.
pub(crate) fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match server.rsplit_once('@') {
        Some((_, server)) => format!("{scheme}://{server}{path}"),
        None => address.to_owned(),
    }
}

/// `text` with every byte that has a meaning of its own in a path as `%XX`; `/` stays if it is in `kept`.
pub(crate) fn escaped(text: &str, kept: &str) -> String {
    text.bytes().fold(String::new(), |escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.as_bytes().contains(&byte) {
            escaped + &char::from(byte).to_string()
        } else {
            format!("{escaped}%{byte:02X}")
        }
    })
}

/// `name` below `folder`, if it is a plain relative path: nothing that leaves the folder, in the writing of any system.
pub(crate) fn inside(folder: &Path, name: &str) -> Result<PathBuf, HubError> {
    let refused = |reason| Err(HubError::Name { name: name.escape_default().to_string(), reason });
    if name.is_empty() || name.len() > LONGEST_NAME {
        return refused("is empty or too long for the name of a file");
    }
    if name.chars().any(|character| character.is_control() || matches!(character, '\\' | ':')) {
        return refused("has characters that no file of a model has in its name");
    }
    let plain = |component| matches!(component, Component::Normal(_));
    if !Path::new(name).components().all(plain) || name.split('/').any(|part| part.is_empty() || part == ".")
    {
        return refused("would lie outside the folder");
    }
    Ok(folder.join(name))
}

const LONGEST_NAME: usize = 1000;

/// Whether a text consists of letters, digits and these signs alone.
pub(crate) fn is_plain(text: &str, signs: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || signs.as_bytes().contains(&byte);
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_become_paths() {
        let folder = Path::new("folder");
        for name in ["a", "a/b.txt", "a b", ".gitattributes", "..a", "ä"] {
            assert_eq!(inside(folder, name).unwrap(), folder.join(name));
        }
        let long = "a".repeat(2000);
        for name in [
            "", "..", "../a", "a/../b", "a/..", "/a", "./a", "a//b", "a/", "C:a", "..\\a", "a\0b", "a\nb",
            &long,
        ] {
            assert!(inside(folder, name).is_err(), "{name}");
        }
    }

    #[test]
    fn redirects_lead_where_browsers_go() {
        let base: Uri = "https://hub.example:8443/a/b?x=1".parse().unwrap();
        for (target, expected) in [
            ("http://other.example/c", "http://other.example/c"),
            ("//other.example/c", "https://other.example/c"),
            ("/c?y=2", "https://hub.example:8443/c?y=2"),
            ("c", "https://hub.example:8443/a/c"),
        ] {
            assert_eq!(join(&base, target), expected);
        }
    }

    #[test]
    fn servers_are_told_apart() {
        let origin = |address| parse(address).unwrap().1;
        assert_eq!(origin("https://Hub.example/a"), origin("https://hub.example:443/b?c"));
        for other in ["http://hub.example/a", "https://hub.example:8443/a", "https://evil-hub.example/a"] {
            assert_ne!(origin("https://hub.example/a"), origin(other));
        }
        for wrong in
            ["file:///etc/passwd", "hub.example/a", "ftp://hub.example/a", "https://user@hub.example/", ""]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for (address, expected) in [
            ("https://hub.example/a@b?sig=x#y", "https://hub.example/a@b"),
            ("https://name:pass@word@hub.example/a", "https://hub.example/a"),
            ("name:password@hub.example", "://hub.example"),
            ("weights.bin", "weights.bin"),
        ] {
            assert_eq!(shown(address), expected);
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("refs/pr/1", ""), "refs%2Fpr%2F1");
        assert_eq!(escaped("a b/ü?", "/"), "a%20b/%C3%BC%3F");
    }
}
