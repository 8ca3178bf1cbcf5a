//! One function a verb: flags to a call, the answer to text or JSON.

use std::path::Path;
use std::process::ExitCode;

use regraft::{
    Cache, Context, CutConfig, CutOutcome, EmbedPrecision, Error, ExportConfig, FitConfig, FrozenPrecision,
    InputChoice, Limits, Method, Result, TestTime, TuningConfig, with_threads,
};
use serde_json::{Map, Value, json};

use crate::arguments::{self, Arguments, Command};
use crate::progress::{Display, watch_for_interrupts};
use crate::{exit, output, zoo};

/// Runs a command; the code is not 0 where some of the input could not be used.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    regraft::check_environment()?;
    watch_for_interrupts();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    with_threads(arguments.threads.map_or(cores, usize::from), || dispatch(arguments))
}

fn dispatch(arguments: &Arguments) -> Result<ExitCode> {
    let display = Display::new(arguments.quiet);
    let limits = limits(arguments.max_megapixels.unwrap_or(FitConfig::default().max_megapixels));
    let context = Context { cache: cache(arguments)?, limits, progress: &display };
    match &arguments.command {
        Command::Fit(flags) => fit(flags, arguments, &context),
        Command::Cut(flags) => cut(flags, arguments, &context),
        Command::Predict(flags) => predict(flags, arguments.json, &context),
        Command::Evaluate(flags) => evaluate(flags, arguments.json, &context),
        Command::Check(flags) => check(flags, arguments.json, &context),
        Command::Embed(flags) => embed(flags, arguments.json, &context),
        Command::Export(flags) => export(flags, arguments.json, &display),
        Command::Zoo(command) => zoo::run(command, arguments.json, &display),
        Command::Report(flags) => report(flags, arguments.json),
        Command::Cache(command) => manage_cache(command, arguments.json, &context.cache),
    }
}

fn limits(megapixels: u64) -> Limits {
    Limits { max_pixels: megapixels.saturating_mul(1_000_000) }
}

fn cache(arguments: &Arguments) -> Result<Cache> {
    match &arguments.cache {
        _ if arguments.no_cache => Ok(Cache::disabled()),
        Some(root) => Ok(Cache::at(root)),
        None => Cache::of_user(),
    }
}

fn fit(flags: &arguments::Fit, arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode> {
    let config = fit_config(flags, arguments)?;
    let context = Context { cache: context.cache.clone(), limits: limits(config.max_megapixels), ..*context };
    let fitted = regraft::fit(&config, &context)?;
    if arguments.json {
        output::json(&regraft::metrics_json(&fitted.record))?;
    } else {
        let run = quoted(&fitted.folder);
        output::text(&regraft::summary_text(&fitted.record))?;
        output::text(&format!(
            "\nReport   {run}/report.html\nModel    {run}/model\nPredict  regraft predict {run} FILE…\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|letter| letter.is_alphanumeric() || "/._-:\\".contains(letter));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// The configuration file, or the defaults, with the flags that were given on top.
fn fit_config(flags: &arguments::Fit, arguments: &Arguments) -> Result<FitConfig> {
    let base = match (&flags.config, &flags.resume) {
        (Some(config), _) => FitConfig::read(config)?,
        (_, Some(run)) => regraft::unfinished(run)?,
        _ => FitConfig::default(),
    };
    let (method, tuning) = (flags.method.unwrap_or(base.method), flags.tuning.over(base.tuning.clone()));
    let tta = flags.tta.unwrap_or(base.tta);
    // Variants of test images are made by the augmentation, too.
    let augmentation = if tta > 0 { &base.tuning.augmentation } else { &tuning.augmentation }.clone();
    let asked = TuningConfig { augmentation, ..tuning.clone() };
    if method == Method::Probe && asked != base.tuning {
        return Err(Error::Usage(format!(
            "{}: the options of the training need a --method that trains: probe fits a head to frozen features",
            changed_flags(&base.tuning, &asked)
        )));
    }
    let InputChoice { channels, extra_channels, image_size, stem } = flags.input.over(base.input());
    Ok(FitConfig {
        channels,
        extra_channels,
        image_size,
        stem,
        data: flags.data.clone().unwrap_or(base.data),
        labels: flags.labels.labels.clone().or(base.labels),
        label_column: flags.labels.label_column.clone().or(base.label_column),
        file_column: flags.labels.file_column.clone().or(base.file_column),
        source: flags.source.source.clone().unwrap_or(base.source),
        arch: flags.source.arch.clone().or(base.arch),
        cut: flags.cut.clone().unwrap_or(base.cut),
        precision: flags.precision.unwrap_or(base.precision),
        // A repeated run gets a folder of its own.
        out: flags.out.clone().or(base.out.filter(|out| !out.exists())),
        seed: flags.split.seed.unwrap_or(base.seed),
        test_fraction: flags.split.test_fraction.unwrap_or(base.test_fraction),
        folds: flags.split.folds.unwrap_or(base.folds),
        heads: flags.heads.clone().unwrap_or(base.heads),
        curve_repetitions: flags.curve_repetitions.unwrap_or(base.curve_repetitions),
        max_unreadable: flags.split.max_unreadable.unwrap_or(base.max_unreadable),
        max_megapixels: arguments.max_megapixels.unwrap_or(base.max_megapixels),
        method,
        tuning,
        tta,
    })
}

fn cut(flags: &arguments::Cut, arguments: &Arguments, context: &Context<'_>) -> Result<ExitCode> {
    let config = cut_config(flags, arguments)?;
    let CutOutcome { folder, record } = regraft::cut(&config, context)?;
    if arguments.json {
        output::json(&record)?;
    } else {
        output::text(&regraft::depth_text(&record))?;
        output::text(&format!("\nReport   {}\n", quoted(&folder.join("report.html"))))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The defaults, with the flags that were given on top.
fn cut_config(flags: &arguments::Cut, arguments: &Arguments) -> Result<CutConfig> {
    let config = match flags.protocol {
        Some(_) => CutConfig::of_transfer(flags.repetitions.unwrap_or(REPETITIONS).into()),
        None => CutConfig { tunes: !flags.no_tuning, ..CutConfig::default() },
    };
    let base = config.fit.clone();
    let InputChoice { channels, extra_channels, image_size, stem } = flags.input.over(base.input());
    let fit = FitConfig {
        channels,
        extra_channels,
        image_size,
        stem,
        data: flags.data.clone(),
        labels: flags.labels.labels.clone(),
        label_column: flags.labels.label_column.clone(),
        file_column: flags.labels.file_column.clone(),
        source: flags.source.source.clone().unwrap_or(base.source),
        arch: flags.source.arch.clone(),
        out: flags.out.clone(),
        seed: flags.split.seed.unwrap_or(base.seed),
        test_fraction: flags.split.test_fraction.unwrap_or(base.test_fraction),
        folds: flags.split.folds.unwrap_or(base.folds),
        heads: flags.heads.clone().unwrap_or(base.heads),
        max_unreadable: flags.split.max_unreadable.unwrap_or(base.max_unreadable),
        max_megapixels: arguments.max_megapixels.unwrap_or(base.max_megapixels),
        tuning: flags.tuning.over(base.tuning),
        ..FitConfig::default()
    };
    if flags.no_tuning && fit.tuning != config.fit.tuning {
        let flags = changed_flags(&config.fit.tuning, &fit.tuning);
        let message = format!("{flags}: the options of the training have no effect with --no-tuning");
        return Err(Error::Usage(message));
    }
    Ok(CutConfig { fit, cuts: flags.cuts.clone(), ..config })
}

/// The flags of settings that differ, separated by commas.
fn changed_flags(base: &TuningConfig, tuning: &TuningConfig) -> String {
    let settings = |config: &TuningConfig| match json!(config) {
        // The settings of a table have flags of their own, and an augmentation has one.
        Value::Object(mut settings) => {
            let mixing = settings.remove("mixing");
            settings.extend(mixing.as_ref().and_then(Value::as_object).cloned().unwrap_or_default());
            settings
        }
        _ => Map::new(),
    };
    let (base, tuning) = (settings(base), settings(tuning));
    let changed = tuning.iter().filter(|(name, value)| base.get(*name) != Some(value));
    changed.map(|(name, _)| format!("--{name}")).collect::<Vec<_>>().join(", ")
}

/// Of the experiment on transferability.
const REPETITIONS: u8 = 3;

fn predict(flags: &arguments::Predict, as_json: bool, context: &Context<'_>) -> Result<ExitCode> {
    let model = regraft::load_source_telling(&flags.model, flags.arch.as_deref(), context.progress)?;
    let precision = FrozenPrecision::of_source(&flags.model)?;
    let (inputs, top) = (&flags.inputs, flags.top.into());
    let test_time = TestTime::of_run(&flags.model, flags.tta)?;
    let test_time = test_time.as_ref();
    let unusable =
        regraft::predict(&model, &precision, inputs, top, test_time, context, &mut |answer| match answer {
            Ok(prediction) if as_json => output::json_line(&prediction),
            Ok(prediction) => output::line(&prediction_line(&prediction)),
            Err(file) => {
                output::complain(&format!("{}: {}", file.path, file.reason));
                Ok(())
            }
        })?;
    Ok(partial(unusable))
}

/// `cat.jpg  tabby 61.2 %  tiger cat 20.1 % …`
fn prediction_line(prediction: &regraft::Prediction) -> String {
    let scored = |label: &regraft::ScoredLabel| format!("{} {:.1} %", label.label, 100.0 * label.probability);
    let labels: Vec<String> = prediction.top.iter().map(scored).collect();
    format!("{}\t{}", prediction.path, labels.join("\t"))
}

/// Success, unless some of the input could not be used.
fn partial(unusable: usize) -> ExitCode {
    if unusable == 0 { ExitCode::SUCCESS } else { exit::DATA.into() }
}

fn evaluate(flags: &arguments::Evaluate, as_json: bool, context: &Context<'_>) -> Result<ExitCode> {
    let evaluation = regraft::evaluate(
        &flags.run,
        &flags.data,
        flags.labels.file()?.as_ref(),
        flags.tta,
        flags.seed,
        context,
    )?;
    if as_json {
        output::json(&evaluation)?;
    } else {
        output::text(&evaluation.to_string())?;
    }
    Ok(partial(evaluation.unusable.len()))
}

fn check(flags: &arguments::Check, as_json: bool, context: &Context<'_>) -> Result<ExitCode> {
    let checkup = regraft::check(&flags.data, flags.labels.file()?.as_ref(), flags.folds, context)?;
    if as_json {
        output::json(&checkup)?;
    } else {
        output::text(&checkup.to_string())?;
    }
    Ok(if checkup.has_errors() { exit::DATA.into() } else { ExitCode::SUCCESS })
}

fn embed(flags: &arguments::Embed, as_json: bool, context: &Context<'_>) -> Result<ExitCode> {
    let source = flags.source.source.as_deref().unwrap_or(regraft::DEFAULT_SOURCE);
    let model = regraft::load_source_telling(source, flags.source.arch.as_deref(), context.progress)?;
    let precision = EmbedPrecision::of_source(Path::new(source), flags.precision)?;
    let input = flags.input.over(InputChoice::default());
    let embedded = regraft::embed(&model, &flags.inputs, &input, &flags.cut, precision, &flags.out, context)?;
    for file in &embedded.unusable {
        context.progress.message(&format!("skipped {}: {}", file.path, file.reason));
    }
    if as_json {
        output::json(&embedded)?;
    } else {
        output::line(&format!(
            "{}: {} × {} in {:.2} s, {:.1} images a second ({} from the cache)",
            flags.out.display(),
            embedded.images,
            embedded.dim,
            embedded.seconds,
            embedded.images_per_second,
            embedded.from_cache
        ))?;
    }
    Ok(partial(embedded.unusable.len()))
}

fn export(flags: &arguments::Export, as_json: bool, display: &Display) -> Result<ExitCode> {
    let config = ExportConfig {
        format: flags.format,
        out: flags.out.clone(),
        opset: flags.opset,
        with_preprocessing: flags.with_preprocessing,
        batch: flags.batch.0,
    };
    let exported = regraft::export(&flags.source, flags.arch.as_deref(), &config, display)?;
    if as_json {
        output::json(&exported)?;
    } else {
        let outputs = exported.outputs.join(", ");
        output::line(&format!("{}: input {}, output {outputs}", exported.path.display(), exported.input))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn report(flags: &arguments::Report, as_json: bool) -> Result<ExitCode> {
    let report = regraft::rebuild_report(&flags.run)?;
    if as_json {
        output::json(&json!({ "report": report.to_string_lossy() }))?;
    } else {
        output::text(&regraft::summary_text(&regraft::read_record(&flags.run)?))?;
        output::line(&format!("\nReport   {}", report.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn manage_cache(command: &arguments::Cache, as_json: bool, cache: &Cache) -> Result<ExitCode> {
    let (stores, verb) = match command {
        arguments::Cache::List => (cache.list()?, ""),
        arguments::Cache::Trim { keep } => (cache.trim(bytes(keep)?)?, "removed "),
    };
    if as_json {
        output::json(&stores)?;
        return Ok(ExitCode::SUCCESS);
    }
    for store in &stores {
        let size = store.bytes as f64 / 1e6;
        output::line(&format!("{verb}{size:>9.1} MB  {:>8} rows  {}", store.rows, store.info.description))?;
    }
    let total = stores.iter().map(|store| store.bytes).sum::<u64>() as f64 / 1e6;
    let root = cache.root().unwrap_or(Path::new("(no cache)"));
    output::line(&format!("{verb}{total:.1} MB in {} stores under {}", stores.len(), root.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// A size of `--keep`.
fn bytes(text: &str) -> Result<u64> {
    arguments::bytes(text).map_err(|message| Error::Usage(format!("--keep {text}: {message}")))
}
