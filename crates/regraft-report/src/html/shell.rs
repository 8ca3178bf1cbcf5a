//! What every page has: head, header with the verdict and the first numbers, and footer.

use crate::markup::{escape, name};
use crate::svg;
use crate::verdict::{Outcome, Verdict};

const PAGE_RULES: &str = include_str!("page.css");

/// No scripts, no network, no forms: only the page's own style and embedded pictures.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// A page in the making. Fields called `…_html` are markup; the rest is escaped here.
pub(super) struct Page<'a> {
    /// Version of Regraft; empty when unknown.
    pub(super) version: &'a str,
    /// What the page is about, in two words above the title.
    pub(super) kind: &'a str,
    pub(super) title: &'a str,
    /// One line below the title.
    pub(super) setting_html: &'a str,
    pub(super) verdict: &'a Verdict,
    /// The numbers that a reader looks for first, each from [`tile`].
    pub(super) tiles_html: &'a [String],
    pub(super) sections_html: &'a str,
}

impl Page<'_> {
    /// The whole HTML document.
    pub(super) fn document(&self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"generator\" content=\"regraft {version}\"/>\n<link rel=\"icon\" href=\"data:,\"/>\n\
             <title>{title} · Regraft</title>\n<style>\n{palette}{charts}{PAGE_RULES}</style>\n</head>\n<body>\n\
             {header}<main>\n{sections}</main>\n{footer}</body>\n</html>\n",
            version = escape(self.version),
            title = escape(self.title),
            palette = svg::PALETTE,
            charts = svg::RULES,
            header = self.header(),
            sections = self.sections_html,
            footer = self.footer(),
        )
    }

    fn header(&self) -> String {
        format!(
            "<header>\n<p class=\"eyebrow\">Regraft · {kind}</p>\n<h1>{title}</h1>\n<p class=\"soft\">{setting}</p>\n\
             {verdict}{tiles}</header>\n",
            kind = escape(self.kind),
            title = escape(self.title),
            setting = self.setting_html,
            verdict = verdict_block(self.verdict),
            tiles = tiles(self.tiles_html),
        )
    }

    fn footer(&self) -> String {
        let version =
            if self.version.is_empty() { String::new() } else { format!(" {}", name(self.version)) };
        format!(
            "<footer><p>Made by Regraft{version}. This page holds its pictures and its style, runs no scripts and \
             asks for nothing over the network.</p></footer>\n"
        )
    }
}

fn verdict_block(verdict: &Verdict) -> String {
    let (class, sign) = match verdict.outcome {
        Outcome::Better => ("better", "✓"),
        Outcome::NotDistinguishable => ("undecided", "≈"),
        Outcome::Worse => ("worse", "✗"),
        Outcome::NotMeasured => ("undecided", "?"),
    };
    let (headline, rest) = verdict.sentence.split_once(": ").unwrap_or(("", &verdict.sentence));
    let caution =
        verdict.caution.as_deref().map(|caution| format!("<p class=\"caution\">{}</p>", escape(caution)));
    format!(
        "<div class=\"verdict {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
         <div><p class=\"sentence\"><strong>{}:</strong> {}</p>{}</div></div>\n",
        escape(headline),
        escape(rest).replace(" %", "\u{a0}%"),
        caution.unwrap_or_default()
    )
}

fn tiles(tiles_html: &[String]) -> String {
    if tiles_html.is_empty() {
        return String::new();
    }
    format!("<dl class=\"tiles\">{}</dl>\n", tiles_html.concat())
}

/// A number with its label and a note.
pub(super) fn tile(label: &str, value: &str, note_html: &str) -> String {
    format!(
        "<div><dt>{}</dt><dd>{}</dd><dd class=\"note\">{note_html}</dd></div>",
        escape(label),
        escape(value)
    )
}
