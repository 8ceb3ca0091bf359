// The controls, as HTML. `n` makes the ids of one front end unique: several may be on a page.

const choice = (name, value, label, checked) =>
  `<label><input type="radio" name="${name}" value="${value}" ${checked ? "checked" : ""}><span>${label}</span></label>`;

const slider = (n, id, label, attributes, hint) => `
  <div class="ca-field">
    <label for="${n}-${id}">${label}</label><output data-of="${id}"></output>
    <input id="${n}-${id}" data-at="${id}" type="range" ${attributes}>
    ${hint ? `<small>${hint}</small>` : ""}
  </div>`;

const select = (n, id, label, options) => `
  <div class="ca-field">
    <label for="${n}-${id}">${label}</label>
    <select id="${n}-${id}" data-at="${id}">
      ${options.map(([value, text]) => `<option value="${value}">${text}</option>`).join("")}
    </select>
  </div>`;

const button = (id, label, title = "") =>
  `<button type="button" data-at="${id}" ${title ? `title="${title}"` : ""}>${label}</button>`;

export const markup = (n) => `
<div class="ca-tools" role="toolbar" aria-label="Drawing">
  <fieldset class="ca-choice"><legend>Tool</legend>
    ${choice(`${n}-tool`, "brush", "Brush", true)}${choice(`${n}-tool`, "eraser", "Eraser")}
    ${choice(`${n}-tool`, "rectangle", "Rectangle")}${choice(`${n}-tool`, "lasso", "Lasso")}
    ${choice(`${n}-tool`, "look", "Look")}${choice(`${n}-tool`, "hand", "Hand")}
  </fieldset>
  <div class="ca-field ca-short"><label for="${n}-radius">Brush radius</label><output data-of="radius"></output>
    <input id="${n}-radius" data-at="radius" type="range" min="1" max="100" value="16"></div>
  <span>${button("undo", "Undo", "Ctrl+Z")}${button("redo", "Redo", "Ctrl+Y")}${button("clear", "Clear")}</span>
  <span>${button("smaller", "−", "Zoom out")}${button("larger", "+", "Zoom in")}${button("fit", "Fit")}</span>
</div>
<div class="ca-columns">
  <div class="ca-left">
    <div class="ca-frame" data-at="frame" tabindex="0" role="application" aria-label="Picture"
      aria-describedby="${n}-help" data-lm-suppress-shortcuts="true">
      <p class="ca-empty" data-at="empty">Open a picture, or drop one here.</p>
    </div>
    <div class="ca-status" role="status" aria-live="polite" data-at="status">Starting …</div>
    <details class="ca-help"><summary>Keyboard, touch, and a rectangle by numbers</summary>
      <p id="${n}-help">On the picture: arrow keys move the cursor, with Shift by one pixel; Space puts the pen down
        and up, or sets a corner; Enter fills the hole; Escape drops the shape; [ and ] change the brush; +, − and 0
        zoom; Ctrl+Z and Ctrl+Y undo and redo. In a filled hole, the cursor reads out the attention. Ctrl and the wheel
        zoom; two fingers move and zoom.</p>
      <form class="ca-row" data-at="numbers">
        ${["Left", "Top", "Width", "Height"].map((name) => `<label>${name}
          <input type="number" name="${name.toLowerCase()}" min="0" value="0" required></label>`).join("")}
        <button>Add rectangle</button>
      </form>
    </details>
  </div>
  <div class="ca-panel">
    <section aria-label="Files"><h2>Files</h2>
      <div class="ca-row">
        <label class="ca-file">Open a picture <input type="file" data-at="file" accept="image/*,.tif,.tiff,.ppm"></label>
        ${button("save", "Download picture")}${button("saveMask", "Download mask")}
      </div>
    </section>
    <section aria-label="Fill"><h2>Fill</h2>
      ${select(n, "method", "Method", [
        ["guided", "guided copies (default)"], ["network", "network, as in the paper"], ["coarse", "its coarse stage"],
        ["patchmatch", "PatchMatch"], ["telea", "Telea"],
      ])}
      <div class="ca-row">${button("run", "Fill the hole")}${button("cancel", "Cancel")}
        <label><input type="checkbox" data-at="auto" checked> when the brush is lifted</label></div>
      <progress max="1" value="0" data-at="progress" aria-label="Progress" hidden></progress>
      ${slider(n, "split", "Before and after", 'min="0" max="100" value="0"', "left of it before, right of it after")}
      ${select(n, "show", "Show over the hole", [
        ["nothing", "the fill"], ["attention", "attention map (figure 4)"], ["copies", "where pixels were copied from"],
      ])}
      <img class="ca-legend" data-at="legend" hidden
        alt="Legend: white, the position itself; green top right, orange bottom right, pink bottom left, blue top left">
    </section>
    <section aria-label="Attention here"><h2>Attention here</h2>
      <p data-at="here">Fill a hole, and point at a position in it.</p>
      <table data-at="table" hidden>
        <caption>Patches of largest weight</caption>
        <thead><tr><th scope="col">patch</th><th scope="col">at x, y</th><th scope="col">score</th>
          <th scope="col" data-at="second">propa&shy;gated</th><th scope="col">weight</th></tr></thead>
        <tbody></tbody>
      </table>
      <p class="ca-note" data-at="scale" hidden>Bright: weight, on a logarithmic scale down to 1/10,000 of the
        largest.</p>
    </section>
    <section aria-label="Attention settings"><h2>Settings</h2>
      ${slider(n, "lambda", "Softmax scale λ", 'min="0" max="60" value="30"')}
      ${slider(n, "fuse", "Propagation width", 'min="0" max="4" value="1"')}
      ${slider(n, "rate", "Rate", 'min="0" max="2" value="1"')}
      ${select(n, "variant", "Variant", [
        ["model", "as the model was trained"], ["official", "the released code"], ["paper", "the paper's text"],
      ])}
      <div class="ca-row">${button("reset", "Reset")}</div>
    </section>
  </div>
</div>`;
