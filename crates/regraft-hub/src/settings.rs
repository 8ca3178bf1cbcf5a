//! What the environment says about the Hub, in the variables that Python's `huggingface_hub` reads.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use regraft_system::files;

use crate::HubError;

/// Where files are fetched from and where they lie.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address of the Hub or of a mirror: `HF_ENDPOINT`.
    pub endpoint: String,
    /// The cache: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else in the user's cache folder.
    pub cache: PathBuf,
    /// Who asks: `HF_TOKEN`, else the file that `hf auth login` writes; nobody with `HF_HUB_DISABLE_IMPLICIT_TOKEN`.
    pub token: Option<Token>,
    /// The variable that forbids the network, if one does: `HF_HUB_OFFLINE`, `TRANSFORMERS_OFFLINE`.
    pub offline: Option<&'static str>,
    /// For `https` and for `http`: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`.
    pub proxies: [Option<String>; 2],
    /// Servers that are reached without a proxy: `NO_PROXY`, separated by commas.
    pub no_proxy: String,
    /// A server that sends nothing for so long is given up: `HF_HUB_DOWNLOAD_TIMEOUT`.
    pub timeout: Duration,
    /// How often a request is repeated after a failure that may pass.
    pub retries: u32,
    /// Wait before the first repetition; it doubles with each.
    pub pause: Duration,
}

/// A secret. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub(crate) String);

impl Token {
    /// A token, unless the text is empty or could not be part of a request.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let usable = !text.is_empty() && text.chars().all(|character| character.is_ascii_graphic());
        usable.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(1);

impl Settings {
    /// Reads the environment.
    ///
    /// # Errors
    /// A variable has a value that cannot be used, or there is no folder for the cache.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`from_environment`](Self::from_environment), with `get` in place of the environment.
    ///
    /// # Errors
    /// As there.
    pub fn from_variables(get: &dyn Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let first = |names: &[&str]| names.iter().find_map(|name| get(name));
        let cache = match first(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]) {
            Some(path) => expanded(&path, get),
            None => home(get)?.join("hub"),
        };
        let offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let proxy = |names: [&str; 2]| first(&names).or_else(|| first(&["ALL_PROXY", "all_proxy"]));
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: token(get),
            offline: offline.into_iter().find(|name| get(name).is_some_and(|value| is_true(&value))),
            proxies: [proxy(["HTTPS_PROXY", "https_proxy"]), proxy(["HTTP_PROXY", "http_proxy"])],
            no_proxy: first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
            timeout: timeout(get)?,
            retries: RETRIES,
            pause: PAUSE,
        })
    }
}

/// `HF_HOME`, else `huggingface` in the user's cache folder, which is `~/.cache` on every system, as in Python.
fn home(get: &dyn Fn(&str) -> Option<String>) -> Result<PathBuf, HubError> {
    if let Some(home) = get("HF_HOME") {
        return Ok(expanded(&home, get));
    }
    if let Some(cache) = get("XDG_CACHE_HOME") {
        return Ok(expanded(&cache, get).join("huggingface"));
    }
    let user = user_home(get).ok_or_else(|| HubError::Setting {
        variable: "HF_HOME",
        message: "there is no home folder, so set it to a folder for fetched models".to_owned(),
    })?;
    Ok(user.join(".cache").join("huggingface"))
}

fn user_home(get: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    get("HOME").map(PathBuf::from).or_else(|| etcetera::home_dir().ok())
}

/// A variable that holds nothing usable counts as one that is not set, as in Python.
fn token(get: &dyn Fn(&str) -> Option<String>) -> Option<Token> {
    if get("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    let variables = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
    let direct = variables.iter().find_map(|name| Token::new(&get(name)?));
    direct.or_else(|| {
        let path = get("HF_TOKEN_PATH").map(|path| expanded(&path, get));
        let path = path.or_else(|| home(get).ok().map(|home| home.join("token")))?;
        Token::new(&String::from_utf8(files::read(&path).ok()?).ok()?)
    })
}

/// `~` at the beginning is the user's home folder.
fn expanded(path: &str, get: &dyn Fn(&str) -> Option<String>) -> PathBuf {
    let below = path.strip_prefix('~').filter(|below| below.is_empty() || below.starts_with('/'));
    let expanded = below.and_then(|below| Some(user_home(get)?.join(below.trim_start_matches('/'))));
    expanded.unwrap_or_else(|| PathBuf::from(path))
}

fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.to_ascii_uppercase().as_str())
}

fn timeout(get: &dyn Fn(&str) -> Option<String>) -> Result<Duration, HubError> {
    let variable = "HF_HUB_DOWNLOAD_TIMEOUT";
    let Some(text) = get(variable).filter(|text| text.trim() != "0") else { return Ok(TIMEOUT) };
    let seconds = text.trim().parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
    let message = || format!("'{text}' is not a number of seconds from 1 to 86400");
    seconds.map(Duration::from_secs).ok_or_else(|| HubError::Setting { variable, message: message() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Settings {
        let get = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Settings::from_variables(&get).unwrap()
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, cache) in [
            ([("HOME", "/u"), ("", "")], "/u/.cache/huggingface/hub"),
            ([("HOME", "/u"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            ([("HOME", "/u"), ("HF_HOME", "~/hf")], "/u/hf/hub"),
            ([("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            ([("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/cache")], "/cache"),
        ] {
            assert_eq!(settings(&variables).cache, PathBuf::from(cache), "{variables:?}");
        }
    }

    #[test]
    fn a_token_comes_from_the_environment_or_its_file_and_is_not_shown() {
        let place = tempfile::tempdir().unwrap();
        files::write_atomically(&place.path().join("token"), b"from-file\n").unwrap();
        let home = place.path().to_str().unwrap();
        let from_file = settings(&[("HF_HOME", home)]);
        assert_eq!(from_file.token, Token::new("from-file"));
        assert!(!format!("{from_file:?}").contains("from-file"));
        assert_eq!(settings(&[("HF_HOME", home), ("HF_TOKEN", " direct ")]).token, Token::new("direct"));
        assert_eq!(settings(&[("HF_HOME", "/nowhere"), ("HF_TOKEN", "a\r\nHost: b")]).token, None);
        assert_eq!(settings(&[("HF_HOME", home), ("HF_TOKEN", " ")]).token, Token::new("from-file"));
        let nobody = [("HF_HOME", home), ("HF_TOKEN", "x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")];
        assert_eq!(settings(&nobody).token, None);
    }

    #[test]
    fn switches_and_addresses() {
        let set = settings(&[
            ("HOME", "/u"),
            ("HF_HUB_OFFLINE", "yes"),
            ("HF_ENDPOINT", "http://mirror/"),
            ("https_proxy", "http://proxy:3128"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "7"),
        ]);
        assert_eq!((set.offline, set.endpoint.as_str()), (Some("HF_HUB_OFFLINE"), "http://mirror"));
        assert_eq!(set.proxies, [Some("http://proxy:3128".to_owned()), None]);
        assert_eq!(set.timeout, Duration::from_secs(7));
        assert_eq!(settings(&[("HOME", "/u"), ("HF_HUB_OFFLINE", "0")]).offline, None);
        assert_eq!(settings(&[("HOME", "/u"), ("HF_HUB_DOWNLOAD_TIMEOUT", "0")]).timeout, TIMEOUT);
        assert_eq!(
            settings(&[("HOME", "/u"), ("all_proxy", "p")]).proxies.map(|proxy| proxy.unwrap()),
            ["p", "p"]
        );
        let wrong =
            |name: &str| (name == "HF_HUB_DOWNLOAD_TIMEOUT" || name == "HOME").then(|| "-1".to_owned());
        assert!(Settings::from_variables(&wrong).unwrap_err().to_string().contains("'-1'"));
    }
}
