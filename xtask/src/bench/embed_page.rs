//! What was measured of `regraft embed`, as a section of `docs/performance.md`.

use std::fmt::Write as _;

use super::embed::{Embedding, MEMORY_AIM, PeerRow, Row, SHARE_AIM, Share};

/// The section.
pub(crate) fn markdown(embedding: &Embedding) -> String {
    let Embedding { date, processor, threads, alternations, files, ours, peers, shares } = embedding;
    let mut text = format!(
        "\n## `embed` from files\n\n{date}, {processor}, {threads} threads, {alternations} turns, each of whole \
         processes. ResNet-50 in f32 on {files} JPEG files of about 500×375, the same weights for all; the others in \
         `oracles/bench_embed.py`, with a DataLoader of two processes. The ratio is the median over the turns of \
         Regraft's speed over the other's. Peak memory: of the process, and with the processes of the DataLoader. \
         Regraft's time includes compiling the network, that of the others does not.\n{HEAD}"
    );
    write_row(&mut text, ours, "", "");
    for PeerRow { row, ratio, aim } in peers {
        write_row(&mut text, row, &format!("**{ratio:.2}**"), &format!("{aim:.2}"));
    }
    text + &memory(embedding) + &speeds(shares)
}

const HEAD: &str = "
| engine | setting | a second | ratio | aim | difference of the features | peak memory, MB | with processes, MB |
|---|---|---|---|---|---|---|---|
";

fn write_row(text: &mut String, row: &Row, ratio: &str, aim: &str) {
    let Row { engine, setting, images_per_second, difference, .. } = row;
    let megabytes = |peak: Option<f64>| peak.map_or_else(String::new, |megabytes| format!("{megabytes:.0}"));
    let [own, all] = [row.peak_rss_mb, row.peak_rss_mb_with_workers.or(row.peak_rss_mb)].map(megabytes);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "| {engine} | {setting} | {images_per_second:.1} | {ratio} | {aim} | {difference:.1e} | {own} | {all} |"
    );
}

fn memory(embedding: &Embedding) -> String {
    let theirs = embedding.peers.iter().find(|peer| peer.row.engine.starts_with("PyTorch"));
    let theirs = theirs.and_then(|peer| peer.row.peak_rss_mb);
    let Some((ours, theirs)) = embedding.ours.peak_rss_mb.zip(theirs) else { return String::new() };
    let of_theirs = ours / theirs;
    format!(
        "\nRegraft needs **{of_theirs:.2}** of the memory of PyTorch's own process (aim: at most {MEMORY_AIM}).\n"
    )
}

fn speeds(shares: &[Share]) -> String {
    let mut text = format!(
        "\nThe network alone, in the same turns, and what is left of its speed with files in front of it (aim: at \
         least {:.0} %):\n\n| threads | network alone | `embed` | share |\n|---|---|---|---|\n",
        SHARE_AIM * 100.0
    );
    for Share { threads, network, embed, share } in shares {
        let percent = share * 100.0;
        let _ = writeln!(text, "| {threads} | {network:.1} | {embed:.1} | **{percent:.0} %** |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, images_per_second: f64, megabytes: f64) -> Row {
        let [engine, setting] = [engine, "default"].map(str::to_owned);
        let (peak_rss_mb, peak_rss_mb_with_workers) = (Some(megabytes), None);
        Row { engine, setting, images_per_second, peak_rss_mb, peak_rss_mb_with_workers, difference: 4e-7 }
    }

    #[test]
    fn the_section_has_ratios_memory_and_shares() {
        let embedding = Embedding {
            date: "2026-11-26".to_owned(),
            processor: "a processor".to_owned(),
            threads: 2,
            alternations: 5,
            files: 256,
            ours: row("Regraft", 30.0, 400.0),
            peers: vec![PeerRow { row: row("PyTorch 2", 15.0, 1000.0), ratio: 2.0, aim: 1.5 }],
            shares: vec![Share { threads: 1, network: 16.0, embed: 15.2, share: 0.95 }],
        };
        let text = markdown(&embedding);
        for part in [
            "| Regraft | default | 30.0 |  |  | 4.0e-7 | 400 | 400 |",
            "| PyTorch 2 | default | 15.0 | **2.00** | 1.50 |",
            "Regraft needs **0.40** of the memory",
            "| 1 | 16.0 | 15.2 | **95 %** |",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
