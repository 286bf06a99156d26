// Before anything is drawn: the theme that was chosen here, else the one of the system.
"use strict";
(() => {
  let theme = null;
  try { theme = localStorage.getItem("perdure-theme"); } catch { /* storage may be switched off */ }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
