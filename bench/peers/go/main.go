// The order service in Go: net/http, mongo-driver, go-redis, franz-go; an insert and a synchronous produce for each POST.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"
)

const (
	cacheFor     = time.Minute
	bodyBytesMax = 256 << 10
	timeFormat   = "2006-01-02T15:04:05.000Z"
)

type line struct {
	ID       string `json:"_id" bson:"_id"`
	Quantity int    `json:"quantity" bson:"quantity"`
}

type stamp time.Time

func (s stamp) MarshalJSON() ([]byte, error) {
	return []byte(time.Time(s).UTC().Format(`"` + timeFormat + `"`)), nil
}

func (s stamp) MarshalBSONValue() (byte, []byte, error) {
	kind, data, err := bson.MarshalValue(time.Time(s))
	return byte(kind), data, err
}

func (s *stamp) UnmarshalBSONValue(kind byte, data []byte) error {
	return bson.UnmarshalValue(bson.Type(kind), data, (*time.Time)(s))
}

type order struct {
	ID        bson.ObjectID `json:"_id" bson:"_id"`
	UserID    string        `json:"userId" bson:"userId"`
	Products  []line        `json:"products" bson:"products"`
	CreatedAt stamp         `json:"createdAt" bson:"createdAt"`
	UpdatedAt stamp         `json:"updatedAt" bson:"updatedAt"`
}

type newOrder struct {
	UserID   string `json:"userId"`
	Products []line `json:"products"`
}

type event struct {
	Type      string `json:"type"`
	EventType string `json:"eventType"`
	UserID    string `json:"userId"`
	OrderID   string `json:"orderId"`
	Products  []line `json:"products"`
	Payload   order  `json:"payload"`
}

type service struct {
	orders *mongo.Collection
	cache  *redis.Client
	kafka  *kgo.Client
	topic  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	url := os.Getenv("MONGO_URL")
	parsed, err := connstring.ParseAndValidate(url)
	must(err)
	client, err := mongo.Connect(options.Client().ApplyURI(url))
	must(err)
	must(client.Ping(ctx, nil))
	redisOptions, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	must(err)
	producer, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(os.Getenv("KAFKA_BROKERS"), ",")...),
		// The default is snappy, which subscribers with kafkajs can't read as it stands.
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	must(err)
	journaled := true
	concern := &writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journaled}
	s := &service{
		orders: client.Database(parsed.Database).Collection("orders", options.Collection().SetWriteConcern(concern)),
		cache:  redis.NewClient(redisOptions),
		kafka:  producer,
		topic:  os.Getenv("KAFKA_TOPIC"),
	}

	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.create)
	mux.HandleFunc("GET /{$}", s.list)
	mux.HandleFunc("GET /{id}", s.find)
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	producer.Close()
	client.Disconnect(context.Background())
}

func (s *service) create(w http.ResponseWriter, r *http.Request) {
	var input newOrder
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&input); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if !input.valid() {
		refuse(w, http.StatusBadRequest, errors.New("not an order"))
		return
	}
	now := stamp(time.Now().UTC().Truncate(time.Millisecond))
	created := order{ID: bson.NewObjectID(), UserID: input.UserID, Products: input.Products, CreatedAt: now, UpdatedAt: now}
	if _, err := s.orders.InsertOne(r.Context(), created); err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	id := created.ID.Hex()
	value, err := json.Marshal(event{"order-placed", "order-placed", created.UserID, id, created.Products, created})
	if err == nil {
		err = s.kafka.ProduceSync(r.Context(), &kgo.Record{Topic: s.topic, Key: []byte(id), Value: value}).FirstErr()
	}
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Location", "/"+id)
	answer(w, http.StatusCreated, created)
}

func (s *service) find(w http.ResponseWriter, r *http.Request) {
	id, err := bson.ObjectIDFromHex(r.PathValue("id"))
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	key := "order:" + id.Hex()
	if cached, err := s.cache.Get(r.Context(), key).Bytes(); err == nil {
		send(w, http.StatusOK, cached)
		return
	}
	var found order
	if err := s.orders.FindOne(r.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&found); err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, mongo.ErrNoDocuments) {
			status = http.StatusNotFound
		}
		refuse(w, status, err)
		return
	}
	body, err := json.Marshal(found)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	s.cache.Set(r.Context(), key, body, cacheFor)
	send(w, http.StatusOK, body)
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	if ids := r.URL.Query().Get("ids"); ids != "" {
		s.batch(w, r, strings.Split(ids, ","))
		return
	}
	cursor, err := s.orders.Find(r.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}}))
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	orders := []order{}
	if err := cursor.All(r.Context(), &orders); err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, http.StatusOK, orders)
}

// Orders by id, null for those that are unknown: one MGET, one find with $in, one pipeline of SETs.
func (s *service) batch(w http.ResponseWriter, r *http.Request, ids []string) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = "order:" + id
	}
	bodies := make([]json.RawMessage, len(ids))
	places := map[bson.ObjectID][]int{}
	missing := []bson.ObjectID{}
	cached, err := s.cache.MGet(r.Context(), keys...).Result()
	for i, id := range ids {
		if err == nil && cached[i] != nil {
			bodies[i] = json.RawMessage(cached[i].(string))
			continue
		}
		objectID, err := bson.ObjectIDFromHex(id)
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		bodies[i] = json.RawMessage("null")
		missing = append(missing, objectID)
		places[objectID] = append(places[objectID], i)
	}
	if len(missing) > 0 {
		filter := bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: missing}}}}
		cursor, err := s.orders.Find(r.Context(), filter, options.Find().SetBatchSize(int32(len(missing))))
		if err != nil {
			refuse(w, http.StatusInternalServerError, err)
			return
		}
		orders := []order{}
		if err := cursor.All(r.Context(), &orders); err != nil {
			refuse(w, http.StatusInternalServerError, err)
			return
		}
		fill := s.cache.Pipeline()
		for _, found := range orders {
			body, err := json.Marshal(found)
			if err != nil {
				refuse(w, http.StatusInternalServerError, err)
				return
			}
			fill.Set(r.Context(), "order:"+found.ID.Hex(), body, cacheFor)
			for _, i := range places[found.ID] {
				bodies[i] = body
			}
		}
		fill.Exec(r.Context())
	}
	answer(w, http.StatusOK, bodies)
}

func (o newOrder) valid() bool {
	if !isID(o.UserID) || len(o.Products) == 0 || len(o.Products) > 1000 {
		return false
	}
	for _, product := range o.Products {
		if !isID(product.ID) || product.Quantity < 1 || product.Quantity > 1_000_000 {
			return false
		}
	}
	return true
}

func isID(text string) bool {
	return text != "" && utf8.RuneCountInString(text) <= 128
}

func answer(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	send(w, status, body)
}

func send(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(body)
}

func refuse(w http.ResponseWriter, status int, err error) {
	if status == http.StatusInternalServerError {
		log.Print(err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"message": err.Error()})
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
