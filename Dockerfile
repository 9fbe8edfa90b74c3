FROM node:24.21.0-bookworm-slim AS base
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

FROM base AS build
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY src src
COPY plugins plugins
COPY routes routes
COPY schemas schemas
COPY tools tools
COPY local local
# The launcher of the local parts is for development; its types are needed to compile what loads it.
RUN npm run build && rm -rf dist/local dist/.tsbuildinfo

FROM base AS dependencies
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force

FROM node:24.21.0-bookworm-slim
LABEL org.opencontainers.image.title="order-service" \
      org.opencontainers.image.description="Orders over HTTP: stored in MongoDB, cached in Redis, published to Kafka exactly once" \
      org.opencontainers.image.licenses="MIT"
ENV NODE_ENV=production
WORKDIR /app
COPY package.json LICENSE ./
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
# By number, so that an orchestrator can see that it isn't root. What it runs belongs to root, and it writes nothing.
USER 1000:1000
EXPOSE 8002 9202
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + (process.env.METRICS_PORT || 9202) + '/readyz').then(({ ok }) => process.exit(ok ? 0 : 1))"]
# Not by npm, which would stand between Docker's SIGTERM and the service.
CMD ["node", "--enable-source-maps", "dist/src/index.js"]
