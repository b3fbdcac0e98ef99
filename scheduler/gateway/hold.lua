-- Requests for a deployment that has no replica wait here, inside the proxy, until one is ready.
--
-- Nothing of a held request has been sent to anybody, so nothing is lost while it waits, and the
-- controller may even die meanwhile. The first one wakes the controller: a connection to its
-- socket, on which nothing needs to be said.
--
-- A client that goes away is often noticed only when its request is released. Where it is noticed,
-- its coroutine ends without a word: so whoever waits says so again and again, and one that has
-- been silent for SILENT_S is no longer counted.

local settings = Map.new(os.getenv("GATEWAY_SETTINGS"), Map._str)
local wake_address = "unix@" .. os.getenv("GATEWAY_WAKE")
local SILENT_S = 1
local WAKE_EVERY_S = 0.5

local waiting = {}  -- place -> {number of the request -> when it last said that it waits}
local counts = {}   -- place -> how many
local woken = {}    -- place -> when the controller was told last
local last = 0

local function now()
    local t = core.now()
    return t.sec + t.usec / 1e6
end

local function wake(place)
    if now() - (woken[place] or 0) < WAKE_EVERY_S then return end
    woken[place] = now()
    local socket = core.tcp()
    socket:settimeout(1)
    if socket:connect(wake_address) then socket:close() end
end

local function has_server(txn, place)
    return txn.c:nbsrv(place .. "-stable") > 0 or txn.c:nbsrv(place .. "-canary") > 0
end

-- Return why the request is refused, or nil when there is a server for it.
local function wait(txn, place, number, deadline)
    while not has_server(txn, place) do
        if not settings:lookup(place) then return "gone" end
        if now() >= deadline then return "late" end
        waiting[place][number] = now()
        wake(place)
        -- The more wait, the more rarely each looks: a crowd costs no more than a few.
        core.msleep(math.min(5 + counts[place] // 20, 250))
    end
end

core.register_action("hold", {"http-req"}, function(txn)
    local place = txn:get_var("txn.place")
    waiting[place] = waiting[place] or {}
    counts[place] = counts[place] or 0
    local limit, activation_ms = txn:get_var("txn.settings"):match("^(%d+)|%d*|(%d+)")
    if counts[place] >= tonumber(limit) then
        txn:set_var("txn.refused", "full")
        return
    end
    last = last + 1
    local number = last
    waiting[place][number] = now()
    counts[place] = counts[place] + 1
    local deadline = now() + tonumber(activation_ms) / 1000
    local refused = wait(txn, place, number, deadline)
    waiting[place][number] = nil
    counts[place] = counts[place] - 1
    if refused then txn:set_var("txn.refused", refused) end
end)

-- `show held`: a line for each place where requests wait, with how many.
core.register_cli({"show", "held"}, "show held : requests that wait for a first server", function(out)
    local silent = now() - SILENT_S
    for place, seen in pairs(waiting) do
        local count = 0
        for number, at in pairs(seen) do
            if at < silent then seen[number] = nil else count = count + 1 end
        end
        counts[place] = count
        if count > 0 then out:send(place .. " " .. count .. "\n") end
    end
end)

-- A header's name is a deployment's own, and the proxy's language has no name that varies.
core.register_action("seek", {"http-req"}, function(txn)
    local wanted = txn:get_var("txn.header")
    if txn.http:req_get_headers()[wanted] then txn:set_var("txn.on_trial", "header") end
end)
