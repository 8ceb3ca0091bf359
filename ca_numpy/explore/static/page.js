// The page of `ca-numpy explore`: the front end over HTTP.
import { mount } from "./explorer.js";
import { openHttp } from "./transport.js";

const root = document.getElementById("explorer");
openHttp(location.hash.slice(1)).then(
  (transport) => mount(root, transport),
  (error) => {
    const notice = document.createElement("p");
    notice.setAttribute("role", "alert");
    notice.textContent = error.message;
    root.append(notice);
  },
);
