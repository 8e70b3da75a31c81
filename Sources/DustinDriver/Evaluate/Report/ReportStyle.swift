/// How a report looks, in light and in dark.
enum ReportStyle {
  static let css = """
    :root { color-scheme: light dark; --paper: #ffffff; --ink: #1d232b; --soft: #5a6572; --rule: #dfe3e8; --card: #f8f9fb;
      --c0: #0072b2; --c1: #d55e00; --c2: #00916a; --c3: #b0508a; --c4: #8a6d00; --c5: #3f88c5; --c6: #6b4fa0;
      --c7: #c23b4e; --c8: #4c7a34; --c9: #6a737d; }
    @media (prefers-color-scheme: dark) {
      :root { --paper: #14181d; --ink: #e4e8ec; --soft: #9aa5b1; --rule: #2d343c; --card: #1b2027;
        --c0: #56b4e9; --c1: #f28e4b; --c2: #3fcf9f; --c3: #e08fc0; --c4: #e0c34a; --c5: #8fbef0; --c6: #b39ddb;
        --c7: #f07f8f; --c8: #9ccc7a; --c9: #aab4be; } }
    * { box-sizing: border-box; }
    body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 78rem; background: var(--paper); color: var(--ink);
      font: 15px/1.5 system-ui, sans-serif; }
    h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
    h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; border-bottom: 1px solid var(--rule); padding-bottom: .25rem; }
    h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
    p, li { max-width: 60rem; }
    .soft { color: var(--soft); }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0; }
    dd { margin: 0; overflow-wrap: anywhere; }
    code, pre { font: 13px/1.45 ui-monospace, monospace; }
    pre { background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .6rem .8rem;
      white-space: pre-wrap; overflow-wrap: anywhere; }
    .plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 33rem), 1fr)); gap: 1rem; }
    figure { margin: 0; padding: .8rem .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
    figcaption { font-weight: 600; margin-bottom: .3rem; }
    figure > svg { width: 100%; height: auto; display: block; }
    .grid { stroke: var(--rule); stroke-width: 1; }
    .axis { stroke: var(--soft); stroke-width: 1; }
    .level { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 6 4; }
    .series { fill: none; stroke-width: 2; stroke-linejoin: round; }
    .dashed { stroke-dasharray: 5 4; }
    .error { stroke-width: 1.5; opacity: .6; }
    .mark { stroke: var(--card); stroke-width: 1; }
    .tick { font-size: 12px; fill: var(--soft); }
    .label { font-size: 12.5px; fill: var(--ink); }
    .note { font-size: 11.5px; fill: var(--soft); }
    .legend { display: flex; flex-wrap: wrap; gap: .15rem .9rem; font-size: 13px; margin-top: .4rem; }
    .entry { display: inline-flex; align-items: center; gap: .35rem; }
    .key { width: 26px; height: 14px; flex: none; }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13.5px; margin: .3rem 0; }
    th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
    th { color: var(--soft); font-weight: 600; }
    th:first-child, td:first-child { text-align: left; }
    tbody tr:hover { background: var(--card); }
    """
}
